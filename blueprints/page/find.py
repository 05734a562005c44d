"""GET /ui/find: from what docker prints, or a part of a name, to its page."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, redirect
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.services.images.find import find_blob, is_image

blueprint = Blueprint("page_find", __name__)


class FindQuery(QuerySchema):
    """`q` is the name or the ID of an image, the digest of a layer, the beginning of one of these, or a part of a name."""

    text = fields.String(data_key="q", load_default="")


@blueprint.get("/ui/find", query=FindQuery, answer=PAGE, pace="quick")
def page_find() -> ResponseReturnValue:
    """GET /ui/find."""
    return redirect(_place_of(load_query()["text"].strip()))


def _place_of(text: str) -> str:
    if is_image(visible(), text):
        return f"/ui/images/{quote(text, safe='/:@')}"
    blob = find_blob(visible(), text)
    return f"/ui/layers/{blob}" if blob else f"/ui/images?part={quote(text, safe='')}"
