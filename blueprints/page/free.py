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
from stowage.services.system.freed import MOST_IMAGES, count_freed
from stowage.services.system.suggestion import Strategy, list_deletable, suggest_amount, suggest_deletions

blueprint = Blueprint("page_free", __name__)


class FreeQuery(QuerySchema):
    """The selection is the `image` parameters, if there are any or with `chosen`, without those that are gone; otherwise, and always with
    `fresh`, what is suggested.
    """

    want = Bytes(load_default=None, metadata={"label": "To free"})
    by = Choice(Strategy, load_default=Strategy.LARGEST)
    images = fields.List(fields.String(), data_key="image", load_default=())
    chosen = fields.String(load_default="")
    fresh = fields.String(load_default="")


@blueprint.get("/ui/free", query=FreeQuery, answer=PAGE, pace="listing")
def page_free() -> Response:
    """GET /ui/free."""
    query = load_query()
    want = suggest_amount(visible()) if query["want"] is None else query["want"]
    suggestion = suggest_deletions(visible(), wanted=want, strategy=query["by"])
    is_chosen = bool(query["images"] or query["chosen"]) and not query["fresh"]
    freed = count_freed(visible(), query["images"], present_only=True) if is_chosen else suggestion.freed
    shown = list(dict.fromkeys([*freed.images, *suggestion.freed.images, *suggestion.more]))
    facts: dict[str, Any] = {
        "freed": freed,
        "selected": {str(digest) for digest in freed.images},
        "gone": len(set(query["images"])) - len(freed.images) if is_chosen else 0,
        "images": list_deletable(visible(), shown, query["by"]),
        "is_short": not is_chosen and freed.bytes < want,
        "is_partial": suggestion.is_partial,
    }
    asked = request.args.get("want") or size(want)
    return render("free.html", want=want, asked=asked, by=query["by"], unique=unique_bytes, most=MOST_IMAGES, **facts)
