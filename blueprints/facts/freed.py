"""GET /stowage/disk/freed: what deleting images would free, exactly."""

from __future__ import annotations

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.services.system.freed import count_freed

blueprint = Blueprint("facts_freed", __name__)


class FreedQuery(QuerySchema):
    """Each `image` is a name or an ID, and means the whole image with all its names."""

    images = fields.List(fields.String(), data_key="image", load_default=())


class FreedResponse(ResponseSchema):
    """The IDs of the images, the bytes that deleting all of them frees, and those of theirs that stay, because other images
    have them too or because an operation that has not ended keeps them.
    """

    images = fields.List(fields.String(), data_key="Images")
    bytes = fields.Integer(data_key="Freed")
    kept = fields.Integer(data_key="Shared")
    leased = fields.Integer(data_key="Leased")


@blueprint.get("/stowage/disk/freed", query=FreedQuery, answer=Answer(FreedResponse), pace="listing")
def facts_freed() -> Response:
    """GET /stowage/disk/freed."""
    return dump(count_freed(visible(), load_query()["images"]))
