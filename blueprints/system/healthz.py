"""GET and HEAD /healthz: that the process answers."""

from flask import Blueprint, Response

from stowage.blueprints.routing import LINES, Answer
from stowage.blueprints.schemas.json_schema import TEXT

blueprint = Blueprint("system_healthz", __name__)


@blueprint.route("/healthz", methods=["GET", "HEAD"], answer=Answer(TEXT, {LINES: {}}, words="ok"), pace="probe")
def system_healthz() -> Response:
    """GET, HEAD /healthz."""
    return Response("ok\n", content_type=LINES)
