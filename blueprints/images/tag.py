"""POST /images/{name}/tag: give an image another name."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.request import engine, load_query
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema
from stowage.services.images.tag import tag_image
from stowage.services.store.resolve import repo_tag_reference

blueprint = Blueprint("image_tag", __name__)


class TagQuery(QuerySchema):
    repo = fields.String(load_default="")
    tag = fields.String(load_default="")


@blueprint.post("/images/<path:name>/tag", query=TagQuery, answer=Answer(status=HTTPStatus.CREATED, empty=HTTPStatus.OK), pace="quick")
def image_tag(name: str) -> ResponseReturnValue:
    """POST /images/{name}/tag; without a repo Docker answers 200 and does nothing."""
    query = load_query()
    tagged = tag_image(engine(), name, repo_tag_reference(query["repo"], query["tag"]))
    return "", HTTPStatus.CREATED if tagged else HTTPStatus.OK
