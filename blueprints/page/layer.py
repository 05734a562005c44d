"""GET /ui/layers/{digest}: which images have a layer."""

from __future__ import annotations

from flask import Blueprint, redirect
from flask.typing import ResponseReturnValue

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Count
from stowage.services.errors import BlobNotFound
from stowage.services.images.find import find_blob
from stowage.services.images.layers import read_layer_users

blueprint = Blueprint("page_layer", __name__)

_PER_PAGE = 100


class PageQuery(QuerySchema):
    page = Count(load_default=1, most=1_000_000)


@blueprint.get("/ui/layers/<path:digest>", query=PageQuery, answer=PAGE, pace="listing")
def page_layer(digest: str) -> ResponseReturnValue:
    """GET /ui/layers/{digest}: the digits that docker prints, or a diff_id, lead to the whole digest."""
    found = find_blob(visible(), digest)
    if found is None:
        raise BlobNotFound(
            f"there is no layer with the digest {digest}; its first digits are enough, 8 or more, if no other begins with them"
        )
    if str(found) != digest:
        return redirect(f"/ui/layers/{found}")
    number = load_query()["page"]
    layer = read_layer_users(visible(), found, start=(number - 1) * _PER_PAGE, count=_PER_PAGE)
    pages = max(1, -(-layer.users // _PER_PAGE))
    if number > pages:
        return redirect(f"/ui/layers/{found}?page={pages}")
    return render("layer.html", layer=layer, number=number, pages=pages)
