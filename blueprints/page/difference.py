"""GET /ui/difference: two images, or two platforms of one, side by side."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.file_links import FileLinks, crumbs_of
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Choice, Count, PlatformSpecifier
from stowage.services.images.browse import browse_siblings
from stowage.services.images.difference import compare_images
from stowage.services.images.file_views import Listing
from stowage.services.images.files import View

blueprint = Blueprint("page_difference", __name__)

_PER_PAGE = 100
_ORDER = "-growth"
_SIBLINGS = 20


class DifferenceQuery(QuerySchema):
    """The two images, and which of their files."""

    left = fields.String(load_default="")
    right = fields.String(load_default="")
    left_platform = PlatformSpecifier(load_default=None, data_key="left-platform")
    right_platform = PlatformSpecifier(load_default=None, data_key="right-platform")
    view = Choice(View, load_default=View.TREE)
    path = fields.String(load_default="")
    search = fields.String(load_default="")
    sort = fields.String(load_default=_ORDER)
    page = Count(load_default=1, most=1_000_000)


@blueprint.get("/ui/difference", query=DifferenceQuery, answer=PAGE)
def page_difference() -> Response:
    """GET /ui/difference."""
    query = load_query()
    left, right = query["left"].strip(), query["right"].strip()
    if not left or not right:
        siblings = browse_siblings(visible(), left or right, _SIBLINGS) if left or right else ()
        return render("difference.html", found=None, given=query, siblings=siblings)
    platforms = {side: query[side] for side in ("left_platform", "right_platform")}
    found = compare_images(visible(), left, right, listing=_listing(query), **platforms)
    total = found.files.total if found.files else 0
    pages = {"number": query["page"], "pages": max(1, -(-total // _PER_PAGE))}
    crumbs = crumbs_of(found.files.path if found.files else "")
    return render("difference.html", found=found, given=query, siblings=(), crumbs=crumbs, link=FileLinks(query, order=_ORDER), **pages)


def _listing(query: dict[str, Any]) -> Listing:
    flat, offset = query["view"] is View.FLAT, (query["page"] - 1) * _PER_PAGE
    return Listing(query["path"], flat, query["search"], query["sort"], offset, _PER_PAGE)
