"""GET /ui/activity: to be filled."""

from __future__ import annotations

from flask import Blueprint, Response

from stowage.blueprints.rendering.answer import PAGE, render

blueprint = Blueprint("page_activity", __name__)


@blueprint.get("/ui/activity", answer=PAGE, quick=True)
def page_activity() -> Response:
    """GET /ui/activity."""
    return render("activity.html")
