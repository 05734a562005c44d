"""The client of a request, as its connection shows it without being read."""

from __future__ import annotations

import select

from flask import request


class Client:
    """The connection of a request, checked without reading, which is correct for TLS and pipelined requests as well."""

    def __init__(self, descriptor: int, gone: int) -> None:
        """`gone` is the event that means that the client has disconnected; an error of the connection always means it."""
        self._descriptor = descriptor
        self._gone = gone | select.POLLHUP | select.POLLERR

    def is_gone(self, seconds: float = 0) -> bool:
        """Whether the client has disconnected, or disconnects within this time."""
        return self._sees(self._gone, seconds)

    def has_closed_its_side(self) -> bool:
        """Whether the client has stopped sending; it may still wait for the answer."""
        return self._sees(select.POLLRDHUP, 0)

    def _sees(self, events: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, events)
        return bool(poll.poll(seconds * 1000))


def is_at_health_address() -> bool:
    """Whether the request arrived at the health address; the worker says so (app/health_address.py)."""
    return getattr(request.environ.get("gunicorn.socket"), "is_health", False)


def watched_client(gone: int = select.POLLRDHUP) -> Client | None:
    """The client, if the server exposes its connection."""
    connection = request.environ.get("gunicorn.socket")
    return None if connection is None else Client(int(connection.fileno()), gone)
