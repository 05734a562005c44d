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
from stowage.services.filters import Filters
from stowage.services.images.prune import prune_images
from stowage.services.system.disk import read_disk
from stowage.services.system.freed import count_dangling

blueprint = Blueprint("page_prune", __name__)


class PruneForm(QuerySchema):
    """The form's token, and when its question was asked, as seconds since 1970 with a fraction."""

    token = fields.String(load_default="")
    asked = fields.String(load_default="")


@blueprint.route("/ui/prune", methods=["GET", "POST"], query=PruneForm, answer=PAGE)
def page_prune() -> ResponseReturnValue:
    """GET and POST /ui/prune."""
    require_write()
    form = load_query()
    if request.method == "GET":
        return _ask()
    engine = changeable(form["token"])
    pruned = prune_images(engine, filters=Filters().adding("until", form["asked"]))
    log_entry().fields |= {"removed": sum(1 for each in pruned.removals or () if each.untagged), "freed": pruned.freed}
    return redirect(f"/ui/?freed={pruned.freed}B", 303)


def _ask() -> ResponseReturnValue:
    """The question. Its form has the time, so that the answer removes no image that has lost its name since."""
    seconds, rest = divmod(visible().clock(), 1_000_000_000)
    asked = f"{seconds}.{rest:09}"
    return render("prune.html", disk=read_disk(visible(), most=1), dangling=count_dangling(visible()), asked=asked)
