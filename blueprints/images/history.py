"""GET /images/{name}/history: the steps of an image, newest first."""

from __future__ import annotations

from functools import partial

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.request import engine, load_query
from stowage.blueprints.response import dump_kept
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema, since
from stowage.blueprints.schemas.fields import PlatformJson
from stowage.services.images.history import read_history

blueprint = Blueprint("image_history", __name__)


class HistoryQuery(QuerySchema):
    platform = PlatformJson(load_default=None, metadata=since("1.48"))


class HistoryItem(ResponseSchema):
    """One step (moby api/types/image/history_response_item.go)."""

    comment = fields.String(data_key="Comment")
    created = fields.Integer(data_key="Created")
    created_by = fields.String(data_key="CreatedBy")
    id = fields.String(data_key="Id")
    size = fields.Integer(data_key="Size")
    tags = fields.List(fields.String(), data_key="Tags")


@blueprint.get("/images/<path:name>/history", query=HistoryQuery, answer=Answer(HistoryItem, many=True), pace="quick")
def image_history(name: str) -> ResponseReturnValue:
    """GET /images/{name}/history."""
    query = load_query()
    return dump_kept(partial(read_history, engine(), name, **query), name, frozenset(query.items()))
