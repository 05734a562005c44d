"""The client of a request: whether it is still connected, and work that ends when it disconnects."""

from __future__ import annotations

import os
import re
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

from flask import current_app, request

from stowage.blueprints.log_entry import CLIENT_LEFT, log_entry
from stowage.services.budget import Budget
from stowage.services.errors import Disconnected
from stowage.services.registry.operations import Operation
from stowage.services.transfer.retry import awaited

LOCAL_SHARE = "stowage.local_share"
"""Key of the application's extensions: whether a part of what clients share is reserved for those of the worker's unix socket."""

COMPUTING = "stowage.computing"
"""Key of the application's extensions: places for requests that compute for long. More of them at once would only delay everybody else in
their process.
"""

_PLACE_SECONDS = 0.1
_T = TypeVar("_T")
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
    """Whether the request arrived at the health address; the worker says so (app/middleware.py)."""
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


def places(count: int) -> Budget:
    """Places for requests of one sort. Clients that must leave some to the unix socket take half of them at most."""
    return Budget(count, count // 2)


def own_places(key: str) -> Budget:
    """The places of an extension of the application that this request's client may take."""
    of_all: Budget = current_app.extensions[key]
    return of_all.unreserved if leaves_share() else of_all


def while_connected(call: Callable[[], _T]) -> _T:
    """The result of a call that asks registries, in a thread of its own.

    If the client disconnects meanwhile, the call's requests end and Disconnected is raised.
    """
    client, waiting = watched_client(), awaited(call)
    while True:
        try:
            next(waiting)
        except StopIteration as done:
            return cast("_T", done.value)
        if client is not None and client.is_gone():
            waiting.close()
            log_entry().end(CLIENT_LEFT)
            raise Disconnected("the client has disconnected")


def compute(call: Callable[[], _T]) -> _T:
    """The result of a call that may compute for minutes, as while_wanted, once there is a place for it."""
    own, client = own_places(COMPUTING), watched_client()
    while not own.try_take(1):
        if client is None:
            time.sleep(_PLACE_SECONDS)
        elif client.is_gone(_PLACE_SECONDS):
            log_entry().end(CLIENT_LEFT)
            raise Disconnected("the client has disconnected")
    try:
        return while_wanted(call)
    finally:
        own.give_back(1)


def while_wanted(call: Callable[[], _T]) -> _T:
    """The result of a call that computes, in this thread. If the client disconnects, the call's next check of its operation raises
    Disconnected. So the thread, and what the call holds, are free only when it has ended.
    """
    try:
        return _WantedOperation(watched_client()).run(call)
    except Disconnected:
        log_entry().end(CLIENT_LEFT)
        raise


class _WantedOperation(Operation):
    """An operation that ends when its client has disconnected."""

    def __init__(self, client: Client | None) -> None:
        super().__init__()
        self._client = client

    def check(self) -> None:
        super().check()
        if self._client is not None and self._client.is_gone():
            raise Disconnected("the client has disconnected")
