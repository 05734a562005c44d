"""GET /ui/activity: what is going on, transfers and events. The page's script asks for news of both every two seconds.

An open page is a request now and then: it keeps no thread, and takes none of the places of `docker events`.
"""

from __future__ import annotations

from flask import Blueprint, Response

from stowage.blueprints.access import visible, visible_transfers
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.services.system.events import names_now, newest_events

blueprint = Blueprint("page_activity", __name__)


@blueprint.get("/ui/activity", answer=PAGE, pace="quick")
def page_activity() -> Response:
    """GET /ui/activity."""
    events = newest_events(visible())
    return render("activity.html", transfers=visible_transfers(), events=events, names=names_now(visible(), events))
