"""GET /ui/activity/transfers: the transfers alone, for a page that shows them already."""

from __future__ import annotations

from flask import Blueprint, Response

from stowage.blueprints.access import visible_transfers
from stowage.blueprints.rendering.answer import PAGE, render

blueprint = Blueprint("page_activity_transfers", __name__)


@blueprint.get("/ui/activity/transfers", answer=PAGE, pace="quick")
def page_activity_transfers() -> Response:
    """GET /ui/activity/transfers."""
    return render("activity_transfers.html", transfers=visible_transfers())
