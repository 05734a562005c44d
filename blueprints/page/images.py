"""GET /ui/images: to be filled."""

from __future__ import annotations

from flask import Blueprint, Response

from stowage.blueprints.rendering.answer import PAGE, render

blueprint = Blueprint("page_images", __name__)


@blueprint.get("/ui/images", answer=PAGE, quick=True)
def page_images() -> Response:
    """GET /ui/images."""
    return render("images.html")
