"""GET /ui: where the page is if its last slash is missing."""

from flask import Blueprint, redirect
from flask.typing import ResponseReturnValue

from stowage.blueprints.rendering.answer import PAGE
from stowage.blueprints.routing import PAGE_PREFIX

blueprint = Blueprint("page_entrance", __name__)


@blueprint.get("/ui", answer=PAGE, pace="quick")
def page_entrance() -> ResponseReturnValue:
    """GET /ui."""
    return redirect(PAGE_PREFIX)
