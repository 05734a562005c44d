"""The line of each request in the log: what was asked, by whom, and how it ended.

A line is in logfmt: `key=value` pairs, with values in quotes where they need them. Headers and bodies are never in it, nor queries but for
the names of images (`blueprints/log_entry.py`). A request that the service fails has level ERROR and says why; so has a stream that fails
after its status 200. A client that leaves is not an error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from stowage.blueprints.log_entry import CLIENT_LEFT, ENTRY, FAILED, LogEntry
from stowage.blueprints.routing import PROBES
from stowage.logs import logfmt
from stowage.peers import describe_peer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger("stowage.request")
_NOT_HERE = "501"
"""The answer to requests about containers and builds: the service works, and cannot do that."""


class RequestLog:
    """Logs one line per request when its answer ends."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began, status = time.monotonic(), ["-"]

        def noting_start(line: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
            status[0] = line[:3]
            return start_response(line, headers, exc_info)  # type: ignore[arg-type]

        def finish(size: int) -> None:
            _write(environ, status[0], size, time.monotonic() - began)

        return _Counted(self._application(environ, noting_start), finish)


class _Counted(Iterator[bytes]):
    """A response body that reports its size when it is closed."""

    def __init__(self, body: Iterable[bytes], finish: Callable[[int], None]) -> None:
        self._body, self._chunks, self._finish, self._size = body, iter(body), finish, 0

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._size += len(chunk)
        return chunk

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._finish(self._size)


def _write(environ: WSGIEnvironment, status: str, size: int, seconds: float) -> None:
    entry = cast("LogEntry | None", environ.get(ENTRY))
    noted = {} if entry is None else entry.all_fields()
    level = _level(status, noted.get("outcome"))
    if status == "200" and environ["PATH_INFO"] in PROBES:  # every few seconds, from every load balancer
        level = logging.DEBUG
    if not _log.isEnabledFor(level):
        return
    fields = {
        "method": environ["REQUEST_METHOD"],
        "path": environ.get("RAW_URI", quote(environ["PATH_INFO"], encoding="latin-1")).partition("?")[0],
        "status": status,
        "bytes": size,
        "ms": round(seconds * 1000),
        **noted,
        **describe_peer(environ),
    }
    _log.log(level, "%s", logfmt(fields))


def _level(status: str, outcome: object) -> int:
    if outcome == FAILED or (status >= "500" and status != _NOT_HERE and outcome != CLIENT_LEFT):
        return logging.ERROR
    return logging.INFO
