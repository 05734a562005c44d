"""Disk usage, each byte counted once, and what can be deleted."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, request
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.disk_picture import NARROW, WIDE, draw_disk, familiar_repository
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer, current_route
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import Bytes, Count, DockerBool
from stowage.blueprints.schemas.json_schema import INTEGER, TEXT, array, mapping, written_as
from stowage.services.system.disk import DiskPicture, read_disk, unique_bytes
from stowage.services.system.suggestion import suggest_amount

blueprint = Blueprint("page_overview", __name__)

_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]+){3}|\[::1\]", re.ASCII)
_MOST = 12
"""How many repositories, layers and images the page tells apart."""


class OverviewQuery(QuerySchema):
    """`freed` is what a prune has just freed; `pruning` that another one is running."""

    freed = Bytes(load_default=None)
    pruning = DockerBool(load_default=False)


class DiskQuery(QuerySchema):
    """`limit` is how many repositories, layers and images are listed at most."""

    limit = Count(load_default=100, most=1000)


class AmountItem(ResponseSchema):
    """Blobs, and their bytes."""

    count = fields.Integer(data_key="Count")
    bytes = fields.Integer(data_key="Size")


class RepositoryItem(ResponseSchema):
    """How many images have their first name in a repository, and the bytes that only one image has, of all of these. Images without a name
    are in the repository with the empty name.
    """

    repository = fields.String(data_key="Repository")
    images = fields.Integer(data_key="Images")
    unique = fields.Integer(data_key="UniqueSize")


class SharedLayerItem(ResponseSchema):
    """A blob that several images have, how many do, and the name of one of these, which may be empty."""

    digest = fields.String(data_key="Digest")
    size = fields.Integer(data_key="Size")
    users = fields.Integer(data_key="Images")
    name = fields.String(data_key="Example")


class DiskImageItem(ResponseSchema):
    """An image, and how many of its bytes other images have too, or only this one."""

    id = fields.String(data_key="Id")
    repo_tags = fields.Raw(data_key="RepoTags", metadata=written_as(array(TEXT)))
    created = fields.Integer(data_key="Created")
    size = fields.Integer(data_key="Size")
    shared_size = fields.Integer(data_key="SharedSize")
    unique = fields.Function(unique_bytes, data_key="UniqueSize", metadata=written_as(INTEGER))


class DiskPictureResponse(ResponseSchema):
    """The parts, from `Unique` to `Derived`, add up to `Total`. A prune removes what is `Unneeded`; an operation that has not ended keeps
    what is `Leased`.
    """

    total = fields.Integer(data_key="Total")
    free = fields.Integer(data_key="Free")
    images = fields.Integer(data_key="Images")
    dangling = fields.Integer(data_key="Dangling")
    unique = fields.Nested(AmountItem, data_key="Unique")
    shared = fields.Nested(AmountItem, data_key="Shared")
    unneeded = fields.Nested(AmountItem, data_key="Unneeded")
    leased = fields.Nested(AmountItem, data_key="Leased")
    partials = fields.Nested(AmountItem, attribute="partial", data_key="Partial")
    derived = fields.Raw(data_key="Derived", metadata=written_as(mapping(INTEGER)))
    repositories = fields.List(fields.Nested(RepositoryItem), data_key="Repositories")
    layers = fields.List(fields.Nested(SharedLayerItem), data_key="SharedLayers")
    largest = fields.List(fields.Nested(DiskImageItem), data_key="LargestImages")


@blueprint.get("/ui/", query=OverviewQuery, answer=PAGE, pace="listing")
@blueprint.get("/stowage/disk", query=DiskQuery, answer=Answer(DiskPictureResponse), pace="listing")
def page_overview() -> Response:
    """GET /ui/ and /stowage/disk: what fills the disk, each byte counted once."""
    query = load_query()
    disk = read_disk(visible(), most=query.get("limit", _MOST))
    return _show(disk, query) if current_route().is_page else dump(disk)


def _show(disk: DiskPicture, query: dict[str, Any]) -> Response:
    drawings = [("wide", WIDE, draw_disk(disk, WIDE)), ("narrow", NARROW, draw_disk(disk, NARROW))]
    facts: dict[str, Any] = {"disk": disk, "drawings": drawings, "want": suggest_amount(visible()), "docker_host": _docker_host()}
    return render("overview.html", given=query, repository_name=familiar_repository, unique=unique_bytes, **facts)


def _docker_host() -> str:
    """DOCKER_HOST for whoever reaches this page at a loopback address. Behind a proxy the way to the service is not known."""
    host, _, port = request.host.rpartition(":")
    is_direct = request.scheme == "http" and request.environ.get("REMOTE_ADDR") and port.isdecimal()
    return f"tcp://{request.host}" if is_direct and _LOOPBACK.fullmatch(host) else ""
