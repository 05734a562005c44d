"""GET /ui/family: to be filled."""

from __future__ import annotations

from flask import Blueprint, Response

from stowage.blueprints.rendering.answer import PAGE, render

blueprint = Blueprint("page_family", __name__)


@blueprint.get("/ui/family", answer=PAGE, quick=True)
def page_family() -> Response:
    """GET /ui/family."""
    return render("family.html")
