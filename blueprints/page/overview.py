"""GET /ui/: what fills the disk, and what can be deleted."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.disk_picture import NARROW, WIDE, draw_disk, familiar_repository
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Bytes
from stowage.services.system.disk import read_disk, unique_bytes
from stowage.services.system.suggestion import suggest_amount

blueprint = Blueprint("page_overview", __name__)

_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]+){3}|\[::1\]", re.ASCII)
_MOST = 12
"""How many repositories, layers and images are told apart."""


class OverviewQuery(QuerySchema):
    """`freed` is what a prune has just freed."""

    freed = Bytes(load_default=None)


@blueprint.get("/ui/", query=OverviewQuery, answer=PAGE, pace="listing")
def page_overview() -> Response:
    """GET /ui/."""
    picture = read_disk(visible(), most=_MOST)
    drawings = [("wide", WIDE, draw_disk(picture, WIDE)), ("narrow", NARROW, draw_disk(picture, NARROW))]
    facts = {"disk": picture, "freed": load_query()["freed"], "drawings": drawings, "want": suggest_amount(visible())}
    return render("overview.html", repository_name=familiar_repository, unique=unique_bytes, docker_host=_docker_host(), **facts)


def _docker_host() -> str:
    """DOCKER_HOST for whoever reaches this page at a loopback address. Behind a proxy the way to the service is not known."""
    host, _, port = request.host.rpartition(":")
    is_direct = request.scheme == "http" and request.environ.get("REMOTE_ADDR") and port.isdecimal()
    return f"tcp://{request.host}" if is_direct and _LOOPBACK.fullmatch(host) else ""
