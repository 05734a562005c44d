"""The health address: it serves probes and metrics to anyone who can reach it, and nothing else.

The worker marks requests that arrive there: their connection has `is_health`. They bypass the checks of hosts and peers, but only a few
paths are served. All other requests go to the application.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stowage.app.plain_answer import answer_plainly
from stowage.blueprints.routing import PROBES

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_METHODS = ("GET", "HEAD")
_NOT_HERE = b'{"message":"page not found"}\n'


class HealthAddress:
    """Serves `routes` to requests of the health address, and the application to all others."""

    def __init__(self, application: WSGIApplication, routes: WSGIApplication) -> None:
        self._application, self._routes = application, routes

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not getattr(environ.get("gunicorn.socket"), "is_health", False):
            return self._application(environ, start_response)
        if environ["PATH_INFO"] in PROBES and environ["REQUEST_METHOD"] in _METHODS:
            return self._routes(environ, start_response)
        return answer_plainly(environ, start_response, "404 Not Found", _NOT_HERE)
