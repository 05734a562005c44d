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
from stowage.services.system.disk import list_images_of
from stowage.services.system.freed import Freed, count_freed

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


def _ask(form: dict[str, Any], *, is_changed: bool = False) -> ResponseReturnValue:
    """The question. Its form has what it is about, so that the answer is not taken for another one."""
    freed = _count(form)
    known: dict[str, Any] = {
        "status": HTTPStatus.CONFLICT if is_changed else HTTPStatus.OK,
        "is_changed": is_changed,
        "asked": _about(freed),
    }
    if form["name"]:
        entry = find_image(visible(), form["name"])
        is_last = len(entry.repo_tags) <= 1
        return render("delete_name.html", entry=entry, name=form["name"], freed=freed if is_last else None, **known)
    entries = [find_image(visible(), str(digest)) for digest in freed.images[:_NAMED]]
    return render("delete.html", entries=entries, freed=freed, **known)


def _count(form: dict[str, Any]) -> Freed:
    return count_freed(visible(), [form["name"]] if form["name"] else form["images"], present_only=True)


def _about(freed: Freed) -> str:
    """A text that differs if these are other images, or have other names."""
    images = sorted((str(image.id), *image.repo_tags) for image in list_images_of(visible(), freed.images))
    return Digest.of(repr(images).encode()).short


def _delete(form: dict[str, Any]) -> ResponseReturnValue:
    engine, freed = changeable(form["token"]), _count(form)
    if form["asked"] != _about(freed):
        return _ask(form, is_changed=True)
    if form["name"]:
        delete_image(engine, form["name"])
        return redirect("/ui/images?done=untagged", 303)
    for image in freed.images:
        with suppress(ImageNotFound):  # another request has deleted it
            delete_image(engine, str(image), force=True)
    return redirect(f"/ui/images?done=deleted&freed={freed.bytes}B", 303)
