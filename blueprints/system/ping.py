"""GET and HEAD /_ping: whether the service is running, and what it is."""

from flask import Blueprint, Response, request

from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.json_schema import TEXT

blueprint = Blueprint("system_ping", __name__)

_HEADERS = [("Cache-Control", "no-cache, no-store, must-revalidate"), ("Pragma", "no-cache"), ("Swarm", "inactive")]


@blueprint.route("/_ping", methods=["GET", "HEAD"], answer=Answer(TEXT, {"text/plain": {}}), pace="probe")
def system_ping() -> Response:
    """GET, HEAD /_ping."""
    return Response("OK" if request.method == "GET" else "", headers=_HEADERS, content_type="text/plain; charset=utf-8")
