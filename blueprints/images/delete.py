"""DELETE /images/{name}: untag an image, or delete it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from marshmallow import pre_load

from stowage.blueprints.request import engine, load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema, since
from stowage.blueprints.schemas.fields import DockerBool, PlatformList
from stowage.blueprints.schemas.images import RemovalItem
from stowage.services.images.delete import check_not_blank, delete_image

blueprint = Blueprint("image_delete", __name__)


class DeleteQuery(QuerySchema):
    """`noprune` has no effect: no image has an untagged parent."""

    force = DockerBool(load_default=False)
    noprune = DockerBool(load_default=False)
    platforms = PlatformList(metadata=since("1.50"))

    @pre_load
    def _check_name_first(self, given: dict[str, Any], **_: object) -> dict[str, Any]:
        check_not_blank((request.view_args or {})["name"])
        return given


@blueprint.delete("/images/<path:name>", query=DeleteQuery, answer=Answer(RemovalItem, many=True), pace="quick")
def image_delete(name: str) -> ResponseReturnValue:
    """DELETE /images/{name}."""
    query = load_query()
    return dump(delete_image(engine(), name, force=query["force"], platforms=query["platforms"]))
