"""Running transfers and recent events, and a way to end a transfer. The page's script asks for news every two seconds.

So an open page keeps no thread, and takes none of the places of `docker events`.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, redirect, request
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import changeable, end_transfer, require_write, visible, visible_transfers
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer, current_route
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import Count
from stowage.blueprints.schemas.json_schema import TEXT, written_as
from stowage.services.errors import NotFound
from stowage.services.system.events import names_now, newest_events
from stowage.services.timestamps import Timestamp

blueprint = Blueprint("page_activity", __name__)

_TIME = written_as(TEXT | {"format": "date-time"})


class NewEventsQuery(QuerySchema):
    after = Count(load_default=0, least=0, most=(1 << 63) - 1)


class EndForm(QuerySchema):
    token = fields.String(load_default="")


class TransferPart(ResponseSchema):
    """A blob that is under way, by the beginning of its digest."""

    id = fields.String(data_key="Id")
    done = fields.Integer(data_key="Done")
    total = fields.Integer(data_key="Total")


class TransferItem(ResponseSchema):
    """A running transfer. `Images` are the first names of `ImageCount`; `Total` and `Left` are null while unknown.

    `Rate` is in bytes a second, `Left` in seconds.
    """

    id = fields.String(data_key="Id")
    operation = fields.String(data_key="Operation")
    images = fields.List(fields.String(), data_key="Images")
    image_count = fields.Integer(data_key="ImageCount")
    registry = fields.String(data_key="Registry")
    client = fields.String(data_key="Client")
    started = fields.Function(lambda transfer: str(Timestamp(transfer.started)), data_key="Started", metadata=_TIME)
    done = fields.Integer(data_key="Done")
    total = fields.Integer(data_key="Total", allow_none=True)
    rate = fields.Integer(data_key="Rate")
    left = fields.Integer(data_key="Left", allow_none=True)
    parts = fields.List(fields.Nested(TransferPart), data_key="Parts")
    is_ending = fields.Boolean(data_key="Ending")


@blueprint.get("/ui/activity", answer=PAGE, pace="quick")
def page_activity() -> Response:
    """GET /ui/activity: transfers and events."""
    events = newest_events(visible())
    return render("activity.html", transfers=visible_transfers(), events=events, names=names_now(visible(), events))


@blueprint.get("/ui/activity/transfers", answer=PAGE, pace="quick")
@blueprint.get("/stowage/transfers", answer=Answer(TransferItem, many=True), pace="quick")
def page_transfers() -> Response:
    """GET /ui/activity/transfers and /stowage/transfers: every running pull, push, load, save and import of the service."""
    transfers = visible_transfers()
    return render("activity_transfers.html", transfers=transfers) if current_route().is_page else dump(transfers)


@blueprint.get("/ui/activity/events", query=NewEventsQuery, answer=PAGE, pace="quick")
def page_events() -> Response:
    """GET /ui/activity/events: rows of the events after one that a page shows already, the newest first."""
    events = newest_events(visible(), after=load_query()["after"])
    return render("activity_events.html", events=events, names=names_now(visible(), events))


@blueprint.route("/ui/activity/end/<path:transfer>", methods=["GET", "POST"], query=EndForm, answer=PAGE, pace="quick")
def page_transfer_end(transfer: str) -> ResponseReturnValue:
    """GET and POST /ui/activity/end/{transfer}: end a transfer, after a question."""
    require_write()
    if request.method == "POST":
        changeable(load_query()["token"])
        end_transfer(transfer)
        return redirect("/ui/activity", HTTPStatus.SEE_OTHER)
    shown = next((each for each in visible_transfers() if each.id == transfer), None)
    if shown is None:
        raise NotFound("this transfer is over")
    return render("transfer_end.html", transfer=shown)


@blueprint.delete("/stowage/transfers/<path:transfer>", answer=Answer(status=HTTPStatus.ACCEPTED), pace="quick")
def transfer_end(transfer: str) -> ResponseReturnValue:
    """DELETE /stowage/transfers/{transfer}: end a transfer, whichever process runs it; its client gets an error."""
    require_write()
    end_transfer(transfer)
    return "", HTTPStatus.ACCEPTED
