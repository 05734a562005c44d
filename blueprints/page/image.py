"""GET /ui/images/{name}: one image."""

from __future__ import annotations

from flask import Blueprint, Response

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.services.images.inspect import inspect_image

blueprint = Blueprint("page_image", __name__)


@blueprint.get("/ui/images/<path:name>", answer=PAGE, quick=True)
def page_image(name: str) -> Response:
    """GET /ui/images/{name}."""
    return render("image.html", name=name, image=inspect_image(visible(), name))
