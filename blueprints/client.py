"""The client of a request, as its connection shows it without being read."""

from __future__ import annotations

import os
import re
import select
import socket
from collections.abc import Callable
from contextlib import suppress

from flask import current_app, request

LOCAL_SHARE = "stowage.local_share"
"""Key of the application's extensions: whether a part of what clients share is reserved for those of the worker's unix socket."""

_PRODUCT = re.compile(r"[!#$%&'*+.^_`|~\w-]+(/[!#$%&'*+.^_`|~\w-]+)?", re.ASCII)
_NAME_LENGTH = 64


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


def leaves_share() -> bool:
    """Whether the request must leave something for clients of the unix socket, because it has not come from there."""
    return current_app.extensions[LOCAL_SHARE] and getattr(request.environ.get("gunicorn.socket"), "family", None) != socket.AF_UNIX


def client_name() -> str:
    """The product that the client says it is, such as `Docker-Client/26.1.5`; empty if it says nothing."""
    product = _PRODUCT.match(request.headers.get("User-Agent", ""))
    return product[0][:_NAME_LENGTH] if product else ""


def client_cutter() -> Callable[[bool], None]:
    """A function that ends what a thread may wait for: that this client sends, and with True also that it accepts anything.

    It may be called from any thread while the request runs. It does nothing if the server does not expose the connection.
    """
    connection = request.environ.get("gunicorn.socket")

    def cut(wholly: bool) -> None:
        if connection is None:
            return
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:  # below TLS, which stays able to send
            same.shutdown(socket.SHUT_RDWR if wholly else socket.SHUT_RD)

    return cut


def watched_client(gone: int = select.POLLRDHUP) -> Client | None:
    """The client, if the server exposes its connection."""
    connection = request.environ.get("gunicorn.socket")
    return None if connection is None else Client(int(connection.fileno()), gone)
