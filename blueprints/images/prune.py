"""POST /images/prune: remove unused images."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.log_entry import log_entry
from stowage.blueprints.request import engine, load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import FiltersField
from stowage.blueprints.schemas.images import RemovalItem
from stowage.services.images.prune import prune_images

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
    pruned = prune_images(engine(), filters=load_query()["filters"])
    log_entry().fields |= {"removed": sum(1 for each in pruned.removals or () if each.untagged), "freed": pruned.freed}
    return dump(pruned)
