"""GET /images/search: repositories that an index finds for a term."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.client import while_connected
from stowage.blueprints.request import engine, load_query, meta_headers, registry_auth
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import FiltersField
from stowage.blueprints.schemas.json_schema import INTEGER, JsonSchema
from stowage.services.errors import InvalidParameter
from stowage.services.filters import parse_integer
from stowage.services.images.search import search_images

blueprint = Blueprint("image_search", __name__)


class LimitField(fields.Field[int]):
    """The maximum number of results; empty text and 0 leave it to the service."""

    json_schema: ClassVar[JsonSchema] = INTEGER | {"minimum": 0}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        try:
            limit = parse_integer(value or "0")
        except InvalidParameter as exc:
            raise InvalidParameter(f"invalid limit specified: {exc}") from exc
        if limit < 0:
            raise InvalidParameter("invalid limit specified")
        return limit


class SearchQuery(QuerySchema):
    limit = LimitField(load_default=0)
    filters = FiltersField()
    term = fields.String(load_default="")


class SearchItem(ResponseSchema):
    """One repository (moby api/types/registry/search.go); nothing is automated any more."""

    stars = fields.Integer(data_key="star_count")
    is_official = fields.Boolean()
    name = fields.String()
    is_automated = fields.Constant(False)
    description = fields.String()


@blueprint.get("/images/search", query=SearchQuery, answer=Answer(SearchItem, many=True), credentials=True)
def image_search() -> ResponseReturnValue:
    """GET /images/search."""
    query = load_query()
    search = partial(search_images, engine(), query["term"], limit=query["limit"], filters=query["filters"])
    return dump(while_connected(partial(search, credentials=registry_auth(), headers=meta_headers())))
