"""GET /ui/activity/events: rows of the events after one that a page shows already, the newest first."""

from __future__ import annotations

from flask import Blueprint, Response

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Count
from stowage.services.system.events import names_now, newest_events

blueprint = Blueprint("page_activity_events", __name__)


class NewEventsQuery(QuerySchema):
    after = Count(load_default=0, least=0, most=(1 << 63) - 1)


@blueprint.get("/ui/activity/events", query=NewEventsQuery, answer=PAGE, pace="quick")
def page_activity_events() -> Response:
    """GET /ui/activity/events."""
    events = newest_events(visible(), after=load_query()["after"])
    return render("activity_events.html", events=events, names=names_now(visible(), events))
