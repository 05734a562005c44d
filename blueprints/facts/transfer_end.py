"""DELETE /stowage/transfers/{transfer}: end a transfer, whichever process runs it; its client gets an error."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint
from flask.typing import ResponseReturnValue

from stowage.blueprints.access import end_transfer, require_write
from stowage.blueprints.routing import Answer

blueprint = Blueprint("facts_transfer_end", __name__)


@blueprint.delete("/stowage/transfers/<path:transfer>", answer=Answer(status=HTTPStatus.ACCEPTED), pace="quick")
def facts_transfer_end(transfer: str) -> ResponseReturnValue:
    """DELETE /stowage/transfers/{transfer}."""
    require_write()
    end_transfer(transfer)
    return "", HTTPStatus.ACCEPTED
