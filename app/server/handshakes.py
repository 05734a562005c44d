"""TLS handshakes in steps: a step computes for about a millisecond and never waits for the client.

Steps run in threads of their own, so that many handshakes at once do not delay the main thread, and with it all clients.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from gunicorn.sock import ssl_context

from stowage.app.server.connections import Connection
from stowage.app.server.tls import TlsSocket

_THREADS = 2

Outcome = int | Exception
"""The event to wait for before the next step, 0 at the end of the handshake, or the error that ended it."""


class Handshakes:
    """Runs the steps of a worker's handshakes; `done` is called with the outcome of each step, in its thread."""

    def __init__(self, cfg: Any, done: Callable[[Connection, Outcome], None]) -> None:
        self._cfg, self._done = cfg, done
        self._context: ssl.SSLContext | None = None
        self._threads = ThreadPoolExecutor(_THREADS)

    def step(self, conn: Connection) -> None:
        """Begin a step. Nothing else may use the socket until it is done."""
        conn.in_handshake = True
        self._threads.submit(self._step, conn)

    def _step(self, conn: Connection) -> None:
        outcome: Outcome = 0
        try:
            if conn.room is not None:  # otherwise it was dropped while the step waited for a thread
                outcome = self._shake(conn)
        except Exception as exc:  # noqa: BLE001 - an error is an outcome too
            outcome = exc
        self._done(conn, outcome)

    def _shake(self, conn: Connection) -> int:
        self._context = self._context or ssl_context(self._cfg)
        if not isinstance(conn.sock, TlsSocket):
            conn.sock = TlsSocket(conn.sock, self._context)
        try:
            conn.sock.do_handshake()
        except ssl.SSLWantReadError:
            return EVENT_READ
        except ssl.SSLWantWriteError:
            return EVENT_WRITE
        return 0
