"""GET and POST /ui/delete: delete images, or remove a name, after a question."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
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
from stowage.services.oci.digest import Digest
from stowage.services.system.freed import count_freed
from stowage.services.system.suggestion import Strategy, list_deletable

blueprint = Blueprint("page_delete", __name__)

_NAMED = 100
"""How many images are named in the question."""


class DeleteForm(QuerySchema):
    """Images as a whole, by name or ID, or one `name` to remove, with the form's token and what its question said."""

    images = fields.List(fields.String(), data_key="image", load_default=())
    name = fields.String(load_default="")
    token = fields.String(load_default="")
    asked = fields.String(load_default="")


@blueprint.route("/ui/delete", methods=["GET", "POST"], query=DeleteForm, answer=PAGE)
def page_delete() -> ResponseReturnValue:
    """GET and POST /ui/delete."""
    require_write()
    form = load_query()
    return _ask(form) if request.method == "GET" else _delete(form)


def _ask(form: dict[str, Any]) -> ResponseReturnValue:
    """The question. Its form has what it says, so that the answer is not taken for another one."""
    is_changed = bool(form["asked"])
    status = HTTPStatus.CONFLICT if is_changed else HTTPStatus.OK
    if form["name"]:
        entry = find_image(visible(), form["name"])
        freed = count_freed(visible(), [form["name"]]) if len(entry.repo_tags) <= 1 else None
        asked = _asked(form)
        return render("delete_name.html", status=status, entry=entry, name=form["name"], freed=freed, asked=asked, is_changed=is_changed)
    freed = count_freed(visible(), form["images"], present_only=True)
    entries = [find_image(visible(), str(digest)) for digest in freed.images[:_NAMED]]
    return render("delete.html", status=status, entries=entries, freed=freed, asked=_asked(form), is_changed=is_changed)


def _asked(form: dict[str, Any]) -> str:
    """What a question is about: the images, their names, and the bytes that come free."""
    names = [form["name"]] if form["name"] else form["images"]
    freed = count_freed(visible(), names, present_only=True)
    about = [(image.id, image.repo_tags) for image in list_deletable(visible(), freed.images, Strategy.LARGEST)]
    return Digest.of(repr((freed.bytes, sorted(map(str, about)))).encode()).short


def _delete(form: dict[str, Any]) -> ResponseReturnValue:
    engine = changeable(form["token"])
    if form["asked"] != _asked(form):
        return _ask(form | {"asked": "another"})
    if form["name"]:
        delete_image(engine, form["name"])
        return redirect("/ui/images?done=untagged", 303)
    freed = count_freed(visible(), form["images"], present_only=True)
    for image in freed.images:
        with suppress(ImageNotFound):  # another request has deleted it
            delete_image(engine, str(image), force=True)
    return redirect(f"/ui/images?done=deleted&freed={freed.bytes}B", 303)
