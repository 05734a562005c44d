"""Operations: what a client waits for, and the connections that work for it.

A thread that waits for a server can be woken in one way only, by shutting down its socket. So a connection tells the operation that it
works for from when it is made, or taken from the pool, until its answer has come whole. Cancelling ends all of them at once, heads,
documents, blobs and uploads alike. Before there is a connection nothing can be shut down: looking up a name ends by the resolver's own
time, connecting and the handshake of TLS by that for connecting.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TypeVar
from weakref import WeakSet

from services.errors import RegistryFailure

_T = TypeVar("_T")

_current: ContextVar[Operation | None] = ContextVar("operation", default=None)


class Operation:
    """Requests that end together, of any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._cancelled = False

    def run(self, call: Callable[[], _T]) -> _T:
        """Call in this thread; every request that is sent meanwhile belongs to this operation."""
        token = _current.set(self)
        try:
            return call()
        finally:
            _current.reset(token)

    def cancel(self) -> None:
        """End its requests; theirs get RegistryFailure at once, also those that are sent later."""
        with self._lock:
            self._cancelled = True
            for used in self._sockets:
                with suppress(OSError):  # the other side was faster
                    _shut_down(used)

    def begin(self, used: socket.socket) -> None:
        """Note a socket that works for it from now on; raises RegistryFailure once cancelled."""
        with self._lock:
            if self._cancelled:
                raise RegistryFailure("context canceled")
            self._sockets.add(used)

    def end(self, used: socket.socket) -> None:
        """Forget a socket, which may work for others from now on."""
        with self._lock:
            self._sockets.discard(used)


def current_operation() -> Operation:
    """The operation that this thread works for; one that nobody cancels where there is none."""
    return _current.get() or Operation()


def _shut_down(used: socket.socket) -> None:
    """End the connection below TLS, whose own shutdown would let a thread that sends go on in plain text."""
    below = getattr(used, "socket", used)  # of TLS within TLS, to a proxy
    socket.socket.shutdown(below, socket.SHUT_RDWR)
