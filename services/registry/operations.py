"""Operations: what a client waits for, and the connections that work for it.

A thread that waits for a server can be woken in only one way: by shutting down its socket. So a connection is registered with its
operation from the moment it is made, or taken from the pool, until its answer is complete. Cancelling ends all of them at once: heads,
documents, blobs and uploads alike. Before there is a connection, nothing can be shut down. A name lookup ends with the resolver's own
timeout, connecting to an address and the TLS handshake with the connect timeout.

A read that overruns its deadline is ended in the same way. A socket's timeout is for silence, and OpenSSL does not return from a read as
long as records without data arrive, such as key updates. A thread shuts such sockets down, which runs while there are reads.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
            self.check()
            self._sockets.add(used)

    def check(self) -> None:
        """Raise RegistryFailure once cancelled."""
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


_SECONDS = 1.0
"""How often the thread looks, and how long after its deadline it ends a read: most end by the socket's own timeout."""


class _Reads:
    """The reads that this process waits for; usable from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[socket.socket, float] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def shut_down_after(self, until: float, used: socket.socket) -> Iterator[None]:
        """Shut down the socket if the context lasts longer than until this time, in seconds of the monotonic clock."""
        with self._lock:
            self._until[used] = until + _SECONDS
            if self._thread is None or not self._thread.is_alive():  # a forked child has no thread
                self._thread = threading.Thread(target=self._watch, name="overdue", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._until[used]

    def _watch(self) -> None:
        while True:
            time.sleep(_SECONDS)
            with self._lock:
                if not self._until:
                    self._thread = None
                    return
                now = time.monotonic()
                for used in [used for used, until in self._until.items() if until < now]:
                    with suppress(OSError):  # the other side was faster
                        shut_down(used)


shut_down_after = _Reads().shut_down_after
