"""GET and POST /ui/tag: give an image another name, after a question."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import changeable, require_write, visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.services.errors import ImageNotFound
from stowage.services.images.browse import find_image
from stowage.services.images.list import ListedImage
from stowage.services.images.tag import tag_image
from stowage.services.oci.reference import Reference

blueprint = Blueprint("page_tag", __name__)


class TagForm(QuerySchema):
    """The image, by name or ID, the name to give it, and the form's token."""

    image = fields.String(load_default="")
    name = fields.String(data_key="as", load_default="")
    token = fields.String(load_default="")


@blueprint.route("/ui/tag", methods=["GET", "POST"], query=TagForm, answer=PAGE, pace="quick")
def page_tag() -> ResponseReturnValue:
    """GET and POST /ui/tag."""
    require_write()
    form = load_query()
    name = Reference.parse(form["name"].strip()).tagged()
    if request.method == "GET":
        return render("tag.html", entry=find_image(visible(), form["image"]), name=name.familiar, now_named=_named(name.familiar))
    tag_image(changeable(form["token"]), form["image"], name)
    return redirect(f"/ui/images/{quote(name.familiar, safe='/:@')}?done=tagged", 303)


def _named(name: str) -> ListedImage | None:
    """The image that has this name now."""
    with suppress(ImageNotFound):
        return find_image(visible(), name)
    return None
