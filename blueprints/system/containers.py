"""GET /containers/json: no containers, which is the truth."""

from flask import Blueprint, Response

from blueprints.response import dump_raw

blueprint = Blueprint("system_containers", __name__)


@blueprint.get("/containers/json")
def system_containers() -> Response:
    """GET /containers/json."""
    return dump_raw([])
