"""The images that have a layer, or any other blob."""

from __future__ import annotations

from flask import Blueprint, redirect
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer, current_route
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import Count
from stowage.services.errors import BlobNotFound
from stowage.services.images.layers import LayerUsers, find_blob, read_layer_users
from stowage.services.oci.digest import Digest

blueprint = Blueprint("page_layer", __name__)

_PER_PAGE = 100


class PageQuery(QuerySchema):
    page = Count(load_default=1, most=1_000_000)


class LayerQuery(PageQuery):
    """A page of at most `limit` images."""

    limit = Count(load_default=_PER_PAGE, most=1000)


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


@blueprint.get("/ui/layers/<path:digest>", query=PageQuery, answer=PAGE, pace="listing")
@blueprint.get("/stowage/layers/<path:digest>", query=LayerQuery, answer=Answer(LayerResponse), pace="listing")
def page_layer(digest: str) -> ResponseReturnValue:
    """GET /ui/layers/{digest} and /stowage/layers/{digest}: which images have a layer, or any other blob.

    On the page the digits that docker prints, or a diff_id, lead to the whole digest.
    """
    found = _find(digest) if current_route().is_page else None
    if found and str(found) != digest:
        return redirect(f"/ui/layers/{found}")
    query = load_query()
    number, limit = query["page"], query.get("limit", _PER_PAGE)
    layer = read_layer_users(visible(), found or Digest.parse(digest), start=(number - 1) * limit, count=limit)
    return _show(layer, number) if found else dump(layer)


def _find(digits: str) -> Digest:
    found = find_blob(visible(), digits)
    if found is None:
        raise BlobNotFound(
            f"there is no layer with the digest {digits}; its first digits are enough, 8 or more, if no other begins with them"
        )
    return found


def _show(layer: LayerUsers, number: int) -> ResponseReturnValue:
    pages = max(1, -(-layer.users // _PER_PAGE))
    if number > pages:
        return redirect(f"/ui/layers/{layer.digest}?page={pages}")
    return render("layer.html", layer=layer, number=number, pages=pages)
