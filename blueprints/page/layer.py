"""GET /ui/layers/{digest}: which images have a layer."""

from __future__ import annotations

from flask import Blueprint, Response

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Count
from stowage.services.images.layers import read_layer_users
from stowage.services.oci.digest import Digest

blueprint = Blueprint("page_layer", __name__)

_PER_PAGE = 100


class PageQuery(QuerySchema):
    page = Count(load_default=1, most=1_000_000)


@blueprint.get("/ui/layers/<path:digest>", query=PageQuery, answer=PAGE, pace="listing")
def page_layer(digest: str) -> Response:
    """GET /ui/layers/{digest}."""
    start = (load_query()["page"] - 1) * _PER_PAGE
    layer = read_layer_users(visible(), Digest.parse(digest), start=start, count=_PER_PAGE)
    return render("layer.html", layer=layer, number=layer.start // _PER_PAGE + 1, pages=-(-layer.users // _PER_PAGE))
