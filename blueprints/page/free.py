"""GET /ui/free: images to delete so that a number of bytes come free, with what the selection frees exactly."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.words import size
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Bytes, Choice
from stowage.services.system.disk import unique_bytes
from stowage.services.system.freed import Strategy, Suggestion, count_freed, suggest_amount, suggest_deletions

blueprint = Blueprint("page_free", __name__)

_MORE = 40
"""How many images can be chosen besides the suggested ones."""


class FreeQuery(QuerySchema):
    """The selection is what is suggested, or the `image` parameters if there are any, or with `chosen` none."""

    want = Bytes(load_default=None, metadata={"label": "To free"})
    by = Choice(Strategy, load_default=Strategy.LARGEST)
    images = fields.List(fields.String(), data_key="image", load_default=())
    chosen = fields.String(load_default="")


@blueprint.get("/ui/free", query=FreeQuery, answer=PAGE, pace="listing")
def page_free() -> Response:
    """GET /ui/free."""
    query = load_query()
    want = suggest_amount(visible()) if query["want"] is None else query["want"]
    suggestion = suggest_deletions(visible(), wanted=want, strategy=query["by"])
    is_chosen = bool(query["images"] or query["chosen"])
    freed = count_freed(visible(), query["images"]) if is_chosen else suggestion.freed
    selected = {str(digest) for digest in freed.images}
    facts: dict[str, Any] = {"freed": freed, "selected": selected, "images": _shown(suggestion, selected), "unique": unique_bytes}
    is_short = not is_chosen and freed.bytes < want
    asked = request.args.get("want") or size(want)
    return render("free.html", want=want, asked=asked, by=query["by"], is_short=is_short, **facts)


def _shown(suggestion: Suggestion, selected: set[str]) -> list[object]:
    """The images that are selected or suggested, and a few more."""
    suggested = {str(digest) for digest in suggestion.selected} | selected
    more = [image for image in suggestion.candidates if str(image.id) not in suggested][:_MORE]
    return [image for image in suggestion.candidates if str(image.id) in suggested or image in more]
