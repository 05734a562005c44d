"""POST /images/prune: remove unused images."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from blueprints.request import engine, load_query
from blueprints.response import dump
from blueprints.routing import Answer
from blueprints.schemas.base import QuerySchema, ResponseSchema
from blueprints.schemas.fields import FiltersField
from blueprints.schemas.removal_item import RemovalItem
from services.images.prune import prune_images

blueprint = Blueprint("image_prune", __name__)


class PruneQuery(QuerySchema):
    filters = FiltersField()


class PruneReport(ResponseSchema):
    """What was removed and the bytes freed (moby api/types/image/prune_report.go); null if nothing was removed."""

    removals = fields.List(fields.Nested(RemovalItem), data_key="ImagesDeleted", allow_none=True)
    freed = fields.Integer(data_key="SpaceReclaimed")


@blueprint.post("/images/prune", since="1.25", query=PruneQuery, answer=Answer(PruneReport))
def image_prune() -> ResponseReturnValue:
    """POST /images/prune."""
    return dump(prune_images(engine(), filters=load_query()["filters"]))
