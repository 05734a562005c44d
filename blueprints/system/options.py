"""OPTIONS on any path: moby answers 200 without a body."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from stowage.blueprints.routing import Answer

blueprint = Blueprint("system_options", __name__)


@blueprint.route("/<path:anyroute>", methods=["OPTIONS"], answer=Answer(), pace="quick")
def system_options(anyroute: str) -> ResponseReturnValue:
    """OPTIONS /{anyroute}."""
    return ""
