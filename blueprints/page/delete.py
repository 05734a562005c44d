"""GET and POST /ui/delete: delete images, or remove a name, after a question."""

from __future__ import annotations

from collections.abc import Sequence
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
from stowage.services.errors import Conflict, ImageNotFound
from stowage.services.images.delete import Plan, delete_as_planned, plan_deletion
from stowage.services.oci.digest import Digest
from stowage.services.system.disk import list_images_of
from stowage.services.system.freed import count_freed

blueprint = Blueprint("page_delete", __name__)

_NAMED = 100
"""How many images are named in the question."""


class DeleteForm(QuerySchema):
    """Images as a whole, by name or ID, or one `name` to remove, with the form's token and the key of what its question was about."""

    images = fields.List(fields.String(), data_key="image", load_default=())
    name = fields.String(load_default="")
    token = fields.String(load_default="")
    asked = fields.String(load_default="")


@blueprint.route("/ui/delete", methods=["GET", "POST"], query=DeleteForm, answer=PAGE)
def page_delete() -> ResponseReturnValue:
    """GET and POST /ui/delete."""
    require_write()
    form = load_query()
    if request.method == "POST":
        return _delete(form)
    return _ask_about_name(form["name"]) if form["name"] else _ask_about_images(form["images"])


def _ask_about_name(name: str, status: HTTPStatus = HTTPStatus.OK) -> ResponseReturnValue:
    """Ask whether to remove a name. The form has the key of what it is about, so that the answer is not taken for another one."""
    plan = plan_deletion(visible(), name)
    freed = count_freed(visible(), [str(plan.image)] if plan.is_whole else [], present_only=True)
    return render("delete_name.html", status=status, plan=plan, freed=freed, asked=_key([plan]))


def _ask_about_images(names: Sequence[str], status: HTTPStatus = HTTPStatus.OK) -> ResponseReturnValue:
    """Ask whether to delete images, as `_ask_about_name` does."""
    freed = count_freed(visible(), names, present_only=True)
    entries = list_images_of(visible(), freed.images[:_NAMED])
    return render("delete.html", status=status, entries=entries, freed=freed, asked=_key(_plan(freed.images)))


def _plan(images: Sequence[Digest]) -> list[Plan]:
    """How to delete these images as a whole, those that are gone aside."""
    plans = []
    for image in images:
        with suppress(ImageNotFound):
            plans.append(plan_deletion(visible(), str(image), force=True))
    return plans


def _key(plans: list[Plan]) -> str:
    return Digest.of(repr(sorted(plan.key for plan in plans)).encode()).hex


def _delete(form: dict[str, Any]) -> ResponseReturnValue:
    """Do what was asked, ask again if it has changed, or say that it is done already."""
    engine, name = changeable(form["token"]), form["name"]
    try:
        plans = [plan_deletion(engine, name)] if name else _plan(count_freed(engine, form["images"], present_only=True).images)
    except ImageNotFound:
        plans = []
    if not plans:
        return redirect("/ui/images?done=gone", 303)
    if form["asked"] != _key(plans):
        return _ask_about_name(name, HTTPStatus.CONFLICT) if name else _ask_about_images(form["images"], HTTPStatus.CONFLICT)
    freed = changed = 0
    for plan in plans:
        try:
            freed += delete_as_planned(engine, plan)
        except Conflict:
            changed += 1
        except ImageNotFound:  # another request has deleted it
            pass
    done = "deleted" if plans[0].is_whole else "untagged"
    return redirect(f"/ui/images?done={done}&freed={freed}B" + f"&changed={changed}" * (changed > 0), 303)
