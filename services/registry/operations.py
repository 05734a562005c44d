"""Operations: what a client waits for, and the connections that work for it.

A thread that waits for a server can be woken in only one way: by shutting down its socket. So a connection is registered with its
operation from the moment it is made, or taken from the pool, until its answer is complete. Cancelling ends all of them at once: heads,
documents, blobs and uploads alike. Before there is a connection, nothing can be shut down. A name lookup ends with the resolver's own
timeout, connecting to an address and the TLS handshake with the connect timeout.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TypeVar
from weakref import WeakSet

from stowage.services.errors import RegistryFailure

_T = TypeVar("_T")

_current: ContextVar[Operation | None] = ContextVar("operation", default=None)


class Operation:
    """Requests of any number of threads that end together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._cancelled = False

    def run(self, call: Callable[[], _T]) -> _T:
        """Call in this thread; every request sent by the call belongs to this operation."""
        token = _current.set(self)
        try:
            return call()
        finally:
            _current.reset(token)

    def cancel(self) -> None:
        """End its requests. They raise RegistryFailure at once, and so do requests sent later."""
        with self._lock:
            self._cancelled = True
            for used in self._sockets:
                with suppress(OSError):  # the other side was faster
                    shut_down(used)

    def begin(self, used: socket.socket) -> None:
        """Register a socket that works for it from now on; raises RegistryFailure once cancelled."""
        with self._lock:
            if self._cancelled:
                raise RegistryFailure("context canceled")
            self._sockets.add(used)

    def check(self) -> None:
        """Raise RegistryFailure once cancelled."""
        with self._lock:
            if self._cancelled:
                raise RegistryFailure("context canceled")

    def end(self, used: socket.socket) -> None:
        """Forget a socket, which may work for others from now on."""
        with self._lock:
            self._sockets.discard(used)


def current_operation() -> Operation:
    """The operation that this thread works for; if there is none, a new one that is never cancelled."""
    return _current.get() or Operation()


def shut_down(used: socket.socket) -> None:
    """End the connection below TLS; TLS's own shutdown would let a sending thread continue in plain text."""
    below = getattr(used, "socket", used)  # of TLS within TLS, to a proxy
    socket.socket.shutdown(below, socket.SHUT_RDWR)
