"""GET /openapi.json: the OpenAPI description of this service."""

from typing import cast

from flask import Blueprint, Response, current_app

from blueprints.response import dump_raw
from blueprints.versioning import VersionedRule

blueprint = Blueprint("system_openapi", __name__)


@blueprint.get("/openapi.json")
def system_openapi() -> Response:
    """GET /openapi.json."""
    from blueprints.description import describe  # only here: apispec takes time to load, and few processes are ever asked

    rules = [cast(VersionedRule, rule) for rule in current_app.url_map.iter_rules()]
    return dump_raw(describe(rules, current_app.view_functions))
