"""The pace of a request: how long it takes, and what decides that.

Quick requests have threads of their own, so a request that could hold one for long must not count as quick: none that waits for a
client (a body, a stream) or for another machine (a registry). A request is therefore slow unless its route says otherwise
(`blueprints/routing.py`), and whenever it has a body. Its method says whether a quick one only reads.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

from gunicorn.util import split_request_uri
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map

from stowage.app.server.seats import Pace
from stowage.blueprints.routing import Route
from stowage.blueprints.versioning import split_version

_PATH = 4096
"""The longest path that is compared with routes: the main thread does that, and a name has at most a few hundred characters."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_PACES = {"instant": Pace.INSTANT, "listing": Pace.LIST, "computing": Pace.COMPUTE, "slow": Pace.SLOW}
_REFERENCE = "reference"
"""The filter of a list of images by name, which are usually few."""
_KEPT = 256
"""How many answers are kept."""
_BODY = re.compile(rb"\r\n(?:transfer-encoding|content-length:(?![ \t]*0+[ \t]*\r\n))", re.IGNORECASE)


class Routes:
    """The routes of an application, with their paces."""

    def __init__(self, url_map: Map) -> None:
        self._routes = url_map.bind("")
        self._pace_of_route = lru_cache(_KEPT)(self._look_up)

    def pace(self, head: bytes) -> Pace:
        """The pace of a request. `head` is complete, with or without what follows it, or as much as gunicorn needs to refuse it."""
        line, _, _ = head.lstrip(b"\r\n").partition(b"\r\n")
        head = head.partition(b"\r\n\r\n")[0] + b"\r\n"
        try:
            method, target, _ = line.decode("latin-1").split(" ", 2)
            uri = split_request_uri(target)
        except ValueError:
            return Pace.READ
        if len(uri.path) > _PATH or _BODY.search(head):
            return Pace.SLOW
        pace = self._pace_of_route(method, uri.path)
        return Pace.READ if pace is Pace.LIST and _REFERENCE in uri.query else pace

    def _look_up(self, method: str, path: str) -> Pace:
        """The pace of a request with this method and path and without a body. A path without a route is slow."""
        try:
            route, _ = self._routes.match(split_version(unquote(path))[1], method, return_rule=True)
        except HTTPException:
            return Pace.SLOW
        pace = route.pace if isinstance(route, Route) else "slow"
        if pace == "quick":
            return Pace.READ if method in _READING else Pace.WRITE
        return _PACES[pace]
