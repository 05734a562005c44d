"""Ends reads that overrun their deadline.

A socket's timeout is for silence. OpenSSL does not return from a read as long as records without data arrive, such as key updates, so
only shutting down the socket ends it. A thread does that, which runs while there are reads.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from stowage.services.registry.operations import shut_down

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
