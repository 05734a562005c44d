"""GET and POST /ui/activity/end/{transfer}: end a transfer, after a question."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, redirect
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import changeable, end_transfer, require_write, visible_transfers
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.services.errors import NotFound

blueprint = Blueprint("page_transfer_end", __name__)


class EndForm(QuerySchema):
    token = fields.String(load_default="")


@blueprint.get("/ui/activity/end/<path:transfer>", answer=PAGE, pace="quick")
def page_transfer_question(transfer: str) -> ResponseReturnValue:
    """GET /ui/activity/end/{transfer}."""
    require_write()
    shown = next((each for each in visible_transfers() if each.id == transfer), None)
    if shown is None:
        raise NotFound("this transfer is over")
    return render("transfer_end.html", transfer=shown)


@blueprint.post("/ui/activity/end/<path:transfer>", query=EndForm, answer=PAGE, pace="quick")
def page_transfer_end(transfer: str) -> ResponseReturnValue:
    """POST /ui/activity/end/{transfer}."""
    changeable(load_query()["token"])
    end_transfer(transfer)
    return redirect("/ui/activity", HTTPStatus.SEE_OTHER)
