"""GET /stowage/blobs: the digests of the stored blobs, one a line."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from stowage.blueprints.request import engine
from stowage.blueprints.routing import LINES, Answer
from stowage.blueprints.schemas.json_schema import TEXT
from stowage.services.system.blobs import list_blobs

blueprint = Blueprint("system_blobs", __name__)


@blueprint.get("/stowage/blobs", answer=Answer(TEXT, {LINES: {}}, words="A digest a line"))
def system_blobs() -> ResponseReturnValue:
    """GET /stowage/blobs."""
    return Response(list_blobs(engine()), content_type=LINES)
