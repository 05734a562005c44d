"""GET /ui/: what fills the disk."""

from __future__ import annotations

from flask import Blueprint, Response

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.services.system.totals import read_totals

blueprint = Blueprint("page_overview", __name__)


@blueprint.get("/ui/", answer=PAGE, quick=True)
def page_overview() -> Response:
    """GET /ui/."""
    return render("overview.html", totals=read_totals(visible()))
