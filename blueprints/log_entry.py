"""Fields of a request's log line besides its method, path and status. `app/request_log.py` writes it when the answer ends.

Of a request's parameters only the names of images are kept: other values may be secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from weakref import ref

from flask import request

from stowage.blueprints.routing import Route
from stowage.services.errors import TransferEnded
from stowage.services.meter import Tally
from stowage.services.registry.credentials import public_url
from stowage.services.system.transfers import Running

ENTRY = "stowage.log_entry"
"""Key of the WSGI environment."""
ROUTE = "stowage.route"
"""Key of the WSGI environment: the Route of the request, or None."""

OK, FAILED, CLIENT_LEFT, CUT_OFF, ENDED, REFUSED = "ok", "failed", "client-left", "cut-off", "ended", "refused"
"""Outcomes of a stream: CUT_OFF by the end of the process, ENDED by an administrator, or REFUSED with a status below 500, which the log has
instead.
"""

_SHOWN = 8
"""How many images are named; of more there is only the number."""


@dataclass(slots=True)
class LogEntry:
    """`operation` is what a stream does, `registry` is the one that it uses, and `tally` has its counts. `received` are the bytes of
    the body so far; `lost_body` was raised when the client left before it had sent the whole body. It is referred to weakly, since it
    refers to the frames that it left, and so to all that the request keeps. `running` is the transfer that the stream is, while it runs.
    """

    operation: str = ""
    fields: dict[str, str | int] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    count: int = 0
    registry: str = ""
    received: int = 0
    tally: Tally | None = None
    lost_body: ref[Exception] | None = None
    running: Running | None = None

    def add_image(self, name: str) -> None:
        """Name one more image."""
        self.count += 1
        if self.count <= _SHOWN:
            self.images.append(name)

    def end(self, outcome: str) -> None:
        """Note how the stream ended."""
        self.fields["outcome"] = outcome

    def fail(self, error: Exception, reason: str) -> None:
        """Note why there is no good end. An error that comes from a client's leaving is no failure."""
        self.end(FAILED)
        self.note_cause(error)
        self.explain(error, reason)

    def explain(self, error: Exception, reason: str) -> None:
        """Note the class of an error, and what is said of it."""
        self.fields |= {"error": type(error).__name__, "reason": reason}

    def lose_body(self, error: Exception) -> None:
        """Note that the client left in the middle of the body, which this error is about to report."""
        if self.lost_body is None or self.lost_body() is None:  # the first of several
            self.lost_body = ref(error)

    def note_cause(self, error: Exception) -> None:
        """Note that the client left, or that the stream was ended, if the error comes from that."""
        if any(isinstance(cause, TransferEnded) for cause in _causes(error)):
            self.end(ENDED)
        elif self.lost_body is not None and any(cause is self.lost_body() for cause in _causes(error)):
            self.end(CLIENT_LEFT)

    def check(self) -> None:
        """Raise TransferEnded if the stream was ended by an administrator."""
        if self.running is not None:
            self.running.check()

    def all_fields(self) -> dict[str, str | int]:
        """The operation, the images, their number if there are several, and the rest."""
        named: dict[str, str | int] = {"operation": self.operation} if self.operation else {}
        if self.images:
            named["image"] = ",".join(self.images)
        if self.count > 1:
            named["images"] = self.count
        return named | self.fields


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def log_entry() -> LogEntry:
    """The entry of the current request."""
    return cast("LogEntry", request.environ.setdefault(ENTRY, LogEntry()))


def log_path() -> None:
    """Note the route, and name the image in the path."""
    route = cast("Route | None", request.url_rule)
    request.environ[ROUTE] = route
    if route is not None and route.names_image:
        log_entry().add_image((request.view_args or {})["name"])


def log_parameters(given: Mapping[str, Any]) -> None:
    """Name the images in the parameters. A `tag` belongs to the `fromImage` or `repo` beside it, otherwise to the image in the path."""
    entry, tag = log_entry(), given.get("tag", "")
    for name in given.get("names", ()):
        entry.add_image(name)
    if given.get("fromImage"):
        entry.add_image(_tagged(given["fromImage"], tag))
        return
    if given.get("fromSrc"):
        entry.fields["from"] = public_url(given["fromSrc"])
    if repo := given.get("repo"):
        if entry.images:
            entry.fields["to"] = _tagged(repo, tag)
        else:
            entry.add_image(_tagged(repo, tag))
    elif entry.images and tag:
        entry.images = [_tagged(entry.images[0], tag)]


def _tagged(name: str, tag: str) -> str:
    """The name with its tag, which may be a digest."""
    return name + (tag and ("@" if ":" in tag else ":") + tag)
