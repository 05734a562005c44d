"""The worker process: gunicorn's threaded worker, and what a service of long uploads and streams needs beyond it."""

from __future__ import annotations

import contextlib
import copy
import errno
import socket
import time

from gunicorn.workers.gthread import TConn, ThreadWorker

from blueprints.streaming import SERVING

_DRAIN_BYTES = 16 << 20
_DRAIN_SECONDS = 5.0
_RETRY_SECONDS = 0.05
_HEAD_SECONDS = 20.0
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})


class Worker(ThreadWorker):
    """gunicorn's threaded worker, speaking TLS on TCP only, patient with uploads that it refuses, and impatient with heads of requests."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self._heads: dict[TConn, float] = {}

    def load_wsgi(self) -> None:
        """Tell the application when this process is to stop, so that live streams end."""
        super().load_wsgi()
        self.wsgi.extensions[SERVING] = lambda: self.alive

    def accept(self, listener: socket.socket) -> None:
        """Take a connection; without a free descriptor it waits for one, where gunicorn would end the worker and its transfers."""
        try:
            super().accept(listener)
        except OSError as exc:
            if exc.errno not in _NO_DESCRIPTOR:
                raise
            time.sleep(_RETRY_SECONDS)

    def handle(self, conn: TConn) -> object:
        """Read and answer a request; its head must come within a bounded time, or a few idle clients would hold every thread."""
        self._heads[conn] = time.monotonic() + _HEAD_SECONDS
        try:
            return super().handle(conn)
        finally:
            self._heads.pop(conn, None)

    def handle_request(self, req: object, conn: TConn) -> object:
        """The head is there; what follows may take its time."""
        self._heads.pop(conn, None)
        return super().handle_request(req, conn)

    def murder_pending(self) -> None:
        """Called about every second: also end the connections whose head is late. Their threads then read the end of the stream."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [conn for conn, deadline in list(self._heads.items()) if deadline < now]:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(conn.sock, socket.SHUT_RD)

    def enqueue_req(self, conn: TConn) -> None:
        if self.cfg.is_ssl and conn.sock.family == socket.AF_UNIX:
            conn.cfg = _without_tls(self.cfg)
        super().enqueue_req(conn)

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Take a bounded part of a body that nobody read: a connection closed under a sender loses the answer on its way to it."""
        drained = conn.parser.finish_body(deadline=time.monotonic() + _DRAIN_SECONDS, max_bytes=_DRAIN_BYTES)
        return bool(keepalive and drained)


def _without_tls(cfg: object) -> object:
    """The same configuration, without a certificate."""
    plain = copy.deepcopy(cfg)
    plain.set("certfile", None)  # type: ignore[attr-defined]
    plain.set("keyfile", None)  # type: ignore[attr-defined]
    return plain
