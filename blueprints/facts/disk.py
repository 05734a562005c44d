"""GET /stowage/disk: what fills the disk, each byte counted once."""

from __future__ import annotations

from flask import Blueprint, Response

from stowage.blueprints.access import visible
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.disk import DiskPictureResponse
from stowage.blueprints.schemas.fields import Count
from stowage.services.system.disk import read_disk

blueprint = Blueprint("facts_disk", __name__)


class DiskQuery(QuerySchema):
    """`limit` is how many repositories, layers and images are listed at most."""

    limit = Count(load_default=100, most=1000)


@blueprint.get("/stowage/disk", query=DiskQuery, answer=Answer(DiskPictureResponse), pace="listing")
def facts_disk() -> Response:
    """GET /stowage/disk."""
    return dump(read_disk(visible(), most=load_query()["limit"]))
