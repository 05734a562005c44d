"""GET and HEAD /metrics: what Prometheus collects."""

from flask import Blueprint, Response, current_app

from stowage.blueprints.client import is_at_health_address
from stowage.blueprints.routing import LINES, Answer
from stowage.blueprints.schemas.json_schema import TEXT
from stowage.services.errors import NotFound

blueprint = Blueprint("system_metrics", __name__)

EXPOSITION = "stowage.exposition"
"""Key of the application's extensions: a callable that returns all metrics as text, or None if there are none."""
EVERYWHERE = "stowage.metrics_everywhere"
"""Key of the application's extensions: whether every address has metrics, and not only the health address."""
_VERSION = "text/plain; version=0.0.4; charset=utf-8"


@blueprint.route("/metrics", methods=["GET", "HEAD"], answer=Answer(TEXT, {LINES: {}}, words="Metrics"), pace="quick")
def system_metrics() -> Response:
    """GET, HEAD /metrics."""
    expose = current_app.extensions[EXPOSITION]
    if expose is None or not (current_app.extensions[EVERYWHERE] or is_at_health_address()):
        raise NotFound("page not found")
    return Response(expose(), content_type=_VERSION)
