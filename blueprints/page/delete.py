"""GET and POST /ui/delete: delete images, or remove a name, after a question."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import changeable, require_write, visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.services.errors import ImageNotFound
from stowage.services.images.browse import find_image
from stowage.services.images.delete import delete_image
from stowage.services.system.freed import count_freed

blueprint = Blueprint("page_delete", __name__)

_NAMED = 100
"""How many images are named in the question."""


class DeleteForm(QuerySchema):
    """Images as a whole, by name or ID, or one `name` to remove, with the form's token."""

    images = fields.List(fields.String(), data_key="image", load_default=())
    name = fields.String(load_default="")
    token = fields.String(load_default="")


@blueprint.route("/ui/delete", methods=["GET", "POST"], query=DeleteForm, answer=PAGE)
def page_delete() -> ResponseReturnValue:
    """GET and POST /ui/delete."""
    require_write()
    form = load_query()
    return _ask(form) if request.method == "GET" else _delete(form)


def _ask(form: dict[str, Any]) -> ResponseReturnValue:
    if form["name"]:
        entry = find_image(visible(), form["name"])
        freed = count_freed(visible(), [form["name"]]) if len(entry.repo_tags) <= 1 else None
        return render("delete_name.html", entry=entry, name=form["name"], freed=freed)
    freed = count_freed(visible(), form["images"], present_only=True)
    entries = [find_image(visible(), str(digest)) for digest in freed.images[:_NAMED]]
    return render("delete.html", entries=entries, freed=freed)


def _delete(form: dict[str, Any]) -> ResponseReturnValue:
    engine = changeable(form["token"])
    if form["name"]:
        delete_image(engine, form["name"])
        return redirect("/ui/images?done=untagged", 303)
    freed = count_freed(visible(), form["images"], present_only=True)
    for image in freed.images:
        with suppress(ImageNotFound):  # another request has deleted it
            delete_image(engine, str(image), force=True)
    return redirect(f"/ui/images?done=deleted&freed={freed.bytes}B", 303)
