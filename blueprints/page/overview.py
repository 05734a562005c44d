"""GET /ui/: what fills the disk, and what can be deleted."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, request

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.disk_picture import NARROW, WIDE, draw_disk, familiar_repository
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Bytes, DockerBool
from stowage.services.system.disk import read_disk, unique_bytes
from stowage.services.system.suggestion import suggest_amount

blueprint = Blueprint("page_overview", __name__)

_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]+){3}|\[::1\]", re.ASCII)
_MOST = 12
"""How many repositories, layers and images are told apart."""


class OverviewQuery(QuerySchema):
    """`freed` is what a prune has just freed; `pruning` that another one is running."""

    freed = Bytes(load_default=None)
    pruning = DockerBool(load_default=False)


@blueprint.get("/ui/", query=OverviewQuery, answer=PAGE, pace="listing")
def page_overview() -> Response:
    """GET /ui/."""
    picture = read_disk(visible(), most=_MOST)
    drawings = [("wide", WIDE, draw_disk(picture, WIDE)), ("narrow", NARROW, draw_disk(picture, NARROW))]
    facts: dict[str, Any] = {"disk": picture, "drawings": drawings, "want": suggest_amount(visible()), "docker_host": _docker_host()}
    return render("overview.html", given=load_query(), repository_name=familiar_repository, unique=unique_bytes, **facts)


def _docker_host() -> str:
    """DOCKER_HOST for whoever reaches this page at a loopback address. Behind a proxy the way to the service is not known."""
    host, _, port = request.host.rpartition(":")
    is_direct = request.scheme == "http" and request.environ.get("REMOTE_ADDR") and port.isdecimal()
    return f"tcp://{request.host}" if is_direct and _LOOPBACK.fullmatch(host) else ""
