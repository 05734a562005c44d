"""GET /stowage/transfers: every running pull, push, load, save and import of the service."""

from __future__ import annotations

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.access import visible_transfers
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import ResponseSchema
from stowage.blueprints.schemas.json_schema import TEXT, written_as
from stowage.services.timestamps import Timestamp
from stowage.services.transfer_board import Transfer

blueprint = Blueprint("facts_transfers", __name__)

_TIME = written_as(TEXT | {"format": "date-time"})


def _started(transfer: Transfer) -> str:
    return str(Timestamp(transfer.started))


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
    started = fields.Function(_started, data_key="Started", metadata=_TIME)
    done = fields.Integer(data_key="Done")
    total = fields.Integer(data_key="Total", allow_none=True)
    rate = fields.Integer(data_key="Rate")
    left = fields.Integer(data_key="Left", allow_none=True)
    parts = fields.List(fields.Nested(TransferPart), data_key="Parts")
    is_ending = fields.Boolean(data_key="Ending")


@blueprint.get("/stowage/transfers", answer=Answer(TransferItem, many=True), pace="quick")
def facts_transfers() -> Response:
    """GET /stowage/transfers."""
    return dump(visible_transfers())
