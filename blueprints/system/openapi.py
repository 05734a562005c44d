"""GET /openapi.json: the OpenAPI description of this service."""

from typing import cast

from flask import Blueprint, Response, current_app

from stowage.blueprints.response import dump_raw
from stowage.blueprints.routing import JSON, Answer, Route
from stowage.blueprints.schemas.json_schema import TEXT, record

blueprint = Blueprint("system_openapi", __name__)

_KEPT = "stowage.openapi"
"""Key of the application's extensions: the answer once it is made, since the routes stay the same."""

_DOCUMENT = record({"openapi": TEXT, "info": {"type": "object"}, "paths": {"type": "object"}})


@blueprint.get("/openapi.json", answer=Answer(_DOCUMENT), pace="quick")
def system_openapi() -> Response:
    """GET /openapi.json."""
    kept = current_app.extensions
    if _KEPT not in kept:
        kept[_KEPT] = _describe().get_data()
    return Response(kept[_KEPT], content_type=JSON)


def _describe() -> Response:
    from stowage.blueprints.description import describe  # only here: apispec is slow to load, and few processes need it

    return dump_raw(describe((cast(Route, rule) for rule in current_app.url_map.iter_rules()), current_app.view_functions))
