"""GET and POST /ui/prune: remove images without a name, and what no image needs, after a question."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import changeable, require_write, visible
from stowage.blueprints.log_entry import log_entry
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.services.errors import Conflict
from stowage.services.filters import Filters
from stowage.services.images.prune import prune_images
from stowage.services.system.disk import read_disk
from stowage.services.system.freed import count_dangling

blueprint = Blueprint("page_prune", __name__)


class PruneForm(QuerySchema):
    """The form's token, and the images without a name that its question was about."""

    token = fields.String(load_default="")
    images = fields.List(fields.String(), data_key="image", load_default=())


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
