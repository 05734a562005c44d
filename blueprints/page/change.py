"""Changes on the page, each after a question: delete an image, remove or add a name, prune."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, redirect, request
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import changeable, require_write, visible
from stowage.blueprints.log_entry import log_entry
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.services.engine import Engine
from stowage.services.errors import Conflict, ImageNotFound
from stowage.services.filters import Filters
from stowage.services.images.browse import find_image
from stowage.services.images.delete import Deletion, Plan, delete_planned, plan_deletion
from stowage.services.images.list import ListedImage
from stowage.services.images.prune import prune_images
from stowage.services.images.tag import tag_image
from stowage.services.oci.reference import Reference
from stowage.services.system.disk import list_images_of, read_disk
from stowage.services.system.freed import count_dangling, count_freed

blueprint = Blueprint("page_change", __name__)

_NAMED = 100
"""How many images are named in the question."""


class DeleteForm(QuerySchema):
    """Images as a whole, by name or ID, or one `name` to remove, with the form's token and the keys of what its question was about."""

    images = fields.List(fields.String(), data_key="image", load_default=())
    name = fields.String(load_default="")
    token = fields.String(load_default="")
    asked = fields.List(fields.String(), load_default=())


class TagForm(QuerySchema):
    """The image, by name or ID, the name to give it, and the form's token."""

    image = fields.String(load_default="")
    name = fields.String(data_key="as", load_default="")
    token = fields.String(load_default="")


class PruneForm(QuerySchema):
    """The form's token, and the images without a name that its question was about."""

    token = fields.String(load_default="")
    images = fields.List(fields.String(), data_key="image", load_default=())


@blueprint.route("/ui/delete", methods=["GET", "POST"], query=DeleteForm, answer=PAGE)
def page_delete() -> ResponseReturnValue:
    """GET and POST /ui/delete."""
    require_write()
    form = load_query()
    if request.method == "GET":
        return _ask_about_name(form["name"]) if form["name"] else _ask_about_images(form["images"])
    engine = changeable(form["token"])
    return _remove_name(engine, form) if form["name"] else _delete_images(engine, form)


def _ask_about_name(name: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Ask whether to remove a name. The form has the key of what is shown, so that the answer is not taken for another question."""
    plan = plan_deletion(visible(), name)
    freed = count_freed(visible(), [str(plan.image)] if plan.is_whole else [], present_only=True)
    return render("delete.html", status=status, name=name, plan=plan, freed=freed)


def _ask_about_images(names: Sequence[str], status: HTTPStatus = HTTPStatus.OK, deleted: Sequence[int] = ()) -> ResponseReturnValue:
    """Ask whether to delete images, as `_ask_about_name` does. `deleted` is what each of the others, which are gone now, has freed."""
    freed = count_freed(visible(), names, present_only=True)
    plans: list[Plan] = []
    for image in freed.images:
        with suppress(ImageNotFound):
            plans.append(plan_deletion(visible(), str(image), force=True))
    if deleted and not plans:
        return _done(deleted)
    sizes = {entry.id: entry.size for entry in list_images_of(visible(), [plan.image for plan in plans[:_NAMED]])}
    return render("delete.html", status=status, name="", plans=plans, sizes=sizes, freed=freed, deleted=deleted)


def _remove_name(engine: Engine, form: dict[str, Any]) -> ResponseReturnValue:
    try:
        deletion = delete_planned(engine, form["name"], form["asked"])
    except ImageNotFound:
        return redirect("/ui/images?done=gone", 303)
    except Conflict:
        return _ask_about_name(form["name"], HTTPStatus.CONFLICT)
    return redirect(f"/ui/images?done={'deleted' if deletion.is_gone else 'untagged'}&freed={deletion.freed}B", 303)


def _delete_images(engine: Engine, form: dict[str, Any]) -> ResponseReturnValue:
    """Delete those that are as they were when it was asked, and ask about the others again. The form has their IDs."""
    deleted: list[int] = []
    changed: list[str] = []
    for image in form["images"]:
        with suppress(ImageNotFound):  # another request has deleted it
            deletion = _try(engine, image, form["asked"])
            if deletion.is_gone:
                deleted.append(deletion.freed)
            else:
                changed.append(image)
    if changed:
        return _ask_about_images(changed, HTTPStatus.CONFLICT, deleted)
    return _done(deleted)


def _try(engine: Engine, image: str, keys: Sequence[str]) -> Deletion:
    """Delete an image, or nothing of it if it has changed."""
    try:
        return delete_planned(engine, image, keys, force=True)
    except Conflict:
        return Deletion([])


def _done(deleted: Sequence[int]) -> ResponseReturnValue:
    return redirect(f"/ui/images?done=deleted&freed={sum(deleted)}B" if deleted else "/ui/images?done=gone", 303)


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


@blueprint.route("/ui/prune", methods=["GET", "POST"], query=PruneForm, answer=PAGE)
def page_prune() -> ResponseReturnValue:
    """GET and POST /ui/prune: images that have lost their name since the question stay."""
    require_write()
    form = load_query()
    if request.method == "GET":
        return render("prune.html", disk=read_disk(visible(), most=1), dangling=count_dangling(visible()))
    try:
        pruned = prune_images(changeable(form["token"]), filters=Filters(), among=frozenset(form["images"]))
    except Conflict:
        return redirect("/ui/?pruning=true", 303)
    log_entry().fields |= {"removed": sum(1 for each in pruned.removals or () if each.untagged), "freed": pruned.freed}
    return redirect(f"/ui/?freed={pruned.freed}B", 303)
