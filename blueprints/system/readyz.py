"""GET and HEAD /readyz: whether the service can do its work, or what is wrong, one sentence per line."""

from http import HTTPStatus
from typing import cast

from flask import Blueprint, Response, current_app

from stowage.blueprints.log_entry import log_entry
from stowage.blueprints.routing import LINES, Answer
from stowage.blueprints.schemas.json_schema import TEXT
from stowage.blueprints.streaming import SERVING
from stowage.services.system.readiness import Readiness

blueprint = Blueprint("system_readyz", __name__)

READINESS = "stowage.readiness"
"""Key of the application's extensions: the Readiness of the process."""
_STOPPING = "The service is stopping."


@blueprint.route("/readyz", methods=["GET", "HEAD"], answer=Answer(TEXT, {LINES: {}}, words="ok"), pace="quick")
def system_readyz() -> Response:
    """GET, HEAD /readyz."""
    serves = current_app.extensions[SERVING]()
    problems = cast(Readiness, current_app.extensions[READINESS]).problems() if serves else [_STOPPING]
    if not problems:
        return Response("ok\n", content_type=LINES)
    if serves:
        log_entry().fields["reason"] = " ".join(problems)
    return Response("\n".join(problems) + "\n", HTTPStatus.SERVICE_UNAVAILABLE, content_type=LINES)
