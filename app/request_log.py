"""The line of each request in the log: what was asked, by whom, and how it ended.

A line is in logfmt, `key=value` pairs with values in quotes where they need them, or the members of a JSON object. Headers and bodies are
never in it, nor queries but for the names of images (`blueprints/log_entry.py`). A request that the service fails has level ERROR and says
why; so has a stream that fails after its status 200. A client that leaves is not an error. A slow request and one that the end of the
process cuts are warnings.

Each request has an id, which its client gets too (`X-Request-Id`). A proxy on the unix socket may choose it, nobody else.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from stowage.app.logs import Fields, name_request
from stowage.app.metrics import Metrics
from stowage.app.middleware import is_unix_socket
from stowage.app.peers import describe_peer
from stowage.blueprints.log_entry import CLIENT_LEFT, CUT_OFF, ENTRY, FAILED, REFUSED, ROUTE, LogEntry
from stowage.blueprints.routing import PROBES

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_LOG = "stowage.request_log"
"""Key of the application's extensions: its RequestLog."""

_log = logging.getLogger("stowage.request")
_NOT_HERE = "501"
"""The answer to requests about containers and builds: the service works, and cannot do that."""
_ODD = re.compile(r"[^A-Za-z0-9._:/+=-]")
_ID_LENGTH = 64
_ROUTINE = PROBES | {"/ui/activity/transfers", "/ui/activity/events"}
"""What load balancers, Prometheus and open pages ask for every few seconds."""


class RequestLog:
    """Logs one line per request when its answer ends: a warning if it has no body and its answer begins after `slow_seconds` or more;
    0 is no limit.
    """

    def __init__(self, application: WSGIApplication, slow_seconds: float, metrics: Metrics | None = None) -> None:
        self._application, self.slow_seconds, self._metrics = application, slow_seconds, metrics
        self._running: dict[_Request, None] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = _Request(environ)
        self._running[request] = None
        name_request(request.id)

        def noting_start(line: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
            request.status, request.first = line[:3], time.monotonic()
            return start_response(line, [*headers, ("X-Request-Id", request.id)], exc_info)  # type: ignore[arg-type]

        try:
            body = self._application(environ, noting_start)
        except BaseException:
            self._finish(request)
            raise
        return _Counted(body, request, self._finish)

    def cut(self) -> None:
        """Log the requests that still run: the process is about to end."""
        for request in list(self._running):
            self._finish(request, outcome=CUT_OFF)

    def _finish(self, request: _Request, outcome: str = "") -> None:
        try:
            del self._running[request]
        except KeyError:  # it ends after it was cut, or is cut while it ends
            return
        request.write(outcome, self.slow_seconds)
        if self._metrics is not None:
            request.count(outcome, self._metrics)
        name_request("")


class _Request:
    """A request and what is known of its answer so far: status, size of the body in bytes, and when it began."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ, self.began = environ, time.monotonic()
        self.status, self.size, self.first = "-", 0, self.began
        self.id = _given_id(environ) or f"{random.getrandbits(64):016x}"

    def write(self, outcome: str, slow_seconds: float) -> None:
        """Log the line of the request."""
        entry = cast("LogEntry | None", self.environ.get(ENTRY))
        noted = ({} if entry is None else entry.all_fields()) | ({"outcome": outcome} if outcome else {})
        first = self.first - self.began
        is_slow = 0 < slow_seconds <= first and not has_body(self.environ)
        level = self._level(noted.get("outcome"), is_slow)
        if not _log.isEnabledFor(level):
            return
        fields: dict[str, str | int] = {
            "method": self.environ["REQUEST_METHOD"],
            "path": self._path(),
            "status": int(self.status) if self.status.isdigit() else self.status,
            "bytes": self.size,
            "ms": round((time.monotonic() - self.began) * 1000),
        }
        if is_slow:
            fields["first_ms"] = round(first * 1000)
        _log.log(level, Fields(fields | {"id": self.id} | noted | describe_peer(self.environ)))

    def _path(self) -> str:
        """The path as the client has sent it, if the server says that."""
        sent = self.environ.get("RAW_URI")
        return quote(self.environ["PATH_INFO"], encoding="latin-1") if sent is None else str(sent).partition("?")[0]

    def count(self, outcome: str, metrics: Metrics) -> None:
        """Count the request, and the operation that it was."""
        seconds = time.monotonic() - self.began
        metrics.request(self.environ.get(ROUTE), self.environ["REQUEST_METHOD"], self.status, seconds)
        entry = cast("LogEntry | None", self.environ.get(ENTRY))
        if entry is not None and entry.operation:
            ended = outcome or str(entry.fields.get("outcome", REFUSED if self.status < "500" else FAILED))
            moved = entry.tally.bytes if entry.tally and entry.registry else (entry.received or self.size)
            metrics.operation(entry, ended, seconds, moved)

    def _level(self, outcome: object, is_slow: bool) -> int:
        if outcome == FAILED or (self.status >= "500" and self.status != _NOT_HERE and outcome != CLIENT_LEFT):
            return logging.ERROR
        if is_slow or outcome == CUT_OFF:
            return logging.WARNING
        is_routine = self.status == "200" and self.environ["PATH_INFO"] in _ROUTINE
        return logging.DEBUG if is_routine else logging.INFO


class _Counted(Iterator[bytes]):
    """A response body that counts its bytes, and finishes its request when it is closed."""

    def __init__(self, body: Iterable[bytes], request: _Request, finish: Callable[[_Request], None]) -> None:
        self._body, self._chunks, self._request, self._finish = body, iter(body), request, finish

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._request.size += len(chunk)
        return chunk

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._finish(self._request)


def has_body(environ: WSGIEnvironment) -> bool:
    """Whether a request has a body, which its client may send as slowly as it likes."""
    return "HTTP_TRANSFER_ENCODING" in environ or environ.get("CONTENT_LENGTH", "") not in ("", "0")


def _given_id(environ: WSGIEnvironment) -> str:
    """The id that a proxy on the unix socket has given the request, without odd characters; empty if there is none."""
    given = environ.get("HTTP_X_REQUEST_ID")
    return _ODD.sub("", given)[:_ID_LENGTH] if given and is_unix_socket(environ) else ""
