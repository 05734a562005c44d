"""The bytes that deleting images frees, and suggestions of images to delete for a number of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.text import size
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import Bytes, Choice
from stowage.services.system.disk import unique_bytes
from stowage.services.system.freed import MOST_IMAGES, count_freed
from stowage.services.system.suggestion import Strategy, Suggestion, list_deletable, suggest_amount, suggest_deletions

blueprint = Blueprint("page_free", __name__)


class FreedQuery(QuerySchema):
    """Each `image` is a name or an ID, and means the whole image with all its names."""

    images = fields.List(fields.String(), data_key="image", load_default=())


class FreeQuery(FreedQuery):
    """The selection is the `image` parameters, if there are any or with `chosen`, without those that are gone; otherwise, and always with
    `fresh`, what is suggested.
    """

    want = Bytes(load_default=None, metadata={"label": "To free"})
    by = Choice(Strategy, load_default=Strategy.LARGEST)
    chosen = fields.String(load_default="")
    fresh = fields.String(load_default="")


class FreedResponse(ResponseSchema):
    """The IDs of the images, the bytes that deleting all of them frees, and those of theirs that stay, because other images
    have them too or because an operation that has not ended keeps them.
    """

    images = fields.List(fields.String(), data_key="Images")
    bytes = fields.Integer(data_key="Freed")
    kept = fields.Integer(data_key="Shared")
    leased = fields.Integer(data_key="Leased")


@blueprint.get("/stowage/disk/freed", query=FreedQuery, answer=Answer(FreedResponse), pace="listing")
def freed() -> Response:
    """GET /stowage/disk/freed: what deleting images would free, exactly."""
    return dump(count_freed(visible(), load_query()["images"]))


@blueprint.get("/ui/free", query=FreeQuery, answer=PAGE, pace="listing")
def page_free() -> Response:
    """GET /ui/free."""
    query = load_query()
    want = suggest_amount(visible()) if query["want"] is None else query["want"]
    suggestion = suggest_deletions(visible(), wanted=want, strategy=query["by"])
    facts = _count(query, suggestion, want) | {"want": want, "given": {"want": _amount(want), "by": query["by"]}}
    shown = list(dict.fromkeys([*facts["freed"].images, *suggestion.freed.images, *suggestion.more]))
    images = list_deletable(visible(), shown, query["by"])
    return render("free.html", images=images, unique=unique_bytes, most=MOST_IMAGES, **facts)


def _amount(want: int) -> str:
    """The amount as it was asked for, with the unit that the form requires."""
    given = request.args.get("want", "").strip()
    if not given:
        return size(want)
    return f"{given}B" if given[-1].isdigit() else given


def _count(query: Mapping[str, Any], suggestion: Suggestion, want: int) -> dict[str, Any]:
    """What the selection frees, and whether a suggestion is less than wanted, of some images only."""
    if query["fresh"] or not (query["images"] or query["chosen"]):
        freed = suggestion.freed
        return {"freed": freed, "is_short": freed.bytes < want, "is_partial": suggestion.is_partial}
    freed = count_freed(visible(), query["images"], present_only=True)
    return {"freed": freed, "is_short": False, "is_partial": False}
