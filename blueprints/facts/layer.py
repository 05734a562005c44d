"""GET /stowage/layers/{digest}: which images have a layer, or any other blob."""

from __future__ import annotations

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import Count
from stowage.services.images.layers import read_layer_users
from stowage.services.oci.digest import Digest

blueprint = Blueprint("facts_layer", __name__)


class LayerQuery(QuerySchema):
    """A page of at most `limit` images."""

    page = Count(load_default=1, most=1_000_000)
    limit = Count(load_default=100, most=1000)


class NamedImageItem(ResponseSchema):
    """An image and its first name, which is empty if it has none."""

    id = fields.String(attribute="digest", data_key="Id")
    name = fields.String(data_key="Name")


class LayerResponse(ResponseSchema):
    """A blob, the bytes of its uncompressed stream if it is a layer, how many images have it, and a page of these."""

    digest = fields.String(data_key="Digest")
    size = fields.Integer(data_key="Size")
    unpacked = fields.Integer(data_key="UncompressedSize")
    users = fields.Integer(data_key="Count")
    images = fields.List(fields.Nested(NamedImageItem), data_key="Images")


@blueprint.get("/stowage/layers/<path:digest>", query=LayerQuery, answer=Answer(LayerResponse), pace="listing")
def facts_layer(digest: str) -> Response:
    """GET /stowage/layers/{digest}."""
    query = load_query()
    start = (query["page"] - 1) * query["limit"]
    return dump(read_layer_users(visible(), Digest.parse(digest), start=start, count=query["limit"]))
