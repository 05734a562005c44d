"""GET /ui/difference: two images, or two platforms of one, side by side."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

from flask import Blueprint, redirect
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.client import compute
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.file_links import FILES_PER_PAGE, crumbs_of, render_files
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.fields import Choice, Count, DockerBool
from stowage.blueprints.schemas.sides import SidesQuery, platforms_of
from stowage.services.images.browse import browse_siblings, find_image, find_previous
from stowage.services.images.difference import ImageDifference, compare_images
from stowage.services.images.file_views import Listing
from stowage.services.images.files import View

blueprint = Blueprint("page_difference", __name__)

_ORDER = "-growth"
_SIBLINGS = 20


class DifferenceQuery(SidesQuery):
    """The two images, and which of their files. With `previous` and one image, the other is the one before it in its repository."""

    previous = DockerBool(load_default=False)
    view = Choice(View, load_default=View.TREE)
    path = fields.String(load_default="")
    search = fields.String(load_default="")
    sort = fields.String(load_default=_ORDER)
    page = Count(load_default=1, most=1_000_000)


@blueprint.get("/ui/difference", query=DifferenceQuery, answer=PAGE)
def page_difference() -> ResponseReturnValue:
    """GET /ui/difference."""
    query = load_query()
    left, right = query["left"].strip(), query["right"].strip()
    if not left or not right:
        return _choose(query, left or right)
    found = compute(partial(compare_images, visible(), left, right, listing=_listing(query), **platforms_of(query)))
    total, crumbs = (found.files.total, crumbs_of(found.files.path)) if found.files else (0, crumbs_of(""))
    names = _names(query, found)
    return render_files("difference.html", total=total, given=query, order=_ORDER, found=found, names=names, crumbs=crumbs)


def _choose(query: dict[str, Any], name: str) -> ResponseReturnValue:
    """Offer images to compare this one with, or go to the comparison with the previous one."""
    if not name:
        return render("difference.html", found=None, given=query, siblings=())
    image, previous = find_image(visible(), name), find_previous(visible(), name)
    platform = query["left_platform"] or query["right_platform"]
    of_platform = f"&platform={quote(str(platform), safe='')}" if platform else ""
    if query["previous"] and previous:
        return redirect(f"/ui/difference?left={quote(previous.repo_tags[0], safe='')}&right={quote(name, safe='')}{of_platform}")
    siblings = browse_siblings(visible(), name, _SIBLINGS)
    choice: dict[str, Any] = {"siblings": siblings, "image": image, "previous": previous, "of_platform": of_platform}
    return render("difference.html", found=None, given=query, **choice)


def _listing(query: dict[str, Any]) -> Listing:
    flat, offset = query["view"] is View.FLAT, (query["page"] - 1) * FILES_PER_PAGE
    return Listing(query["path"], flat, query["search"], query["sort"], offset, FILES_PER_PAGE)


def _names(query: dict[str, Any], found: ImageDifference) -> dict[str, str]:
    """What the two images are called, with their platforms if those were asked for or the names are the same."""
    is_same = query["left"].strip() == query["right"].strip()
    return {
        side: f"{image.name} ({image.platform})" if is_same or query[f"{side}_platform"] else image.name
        for side, image in (("left", found.left), ("right", found.right))
    }
