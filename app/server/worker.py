"""The worker process: gunicorn's threaded worker, in which a connection has a thread only while one of its requests runs."""

from __future__ import annotations

import logging
import signal
import socket
from contextlib import suppress
from selectors import EVENT_WRITE
from typing import Any

from gunicorn.http.body import ChunkedReader, LengthReader

from stowage.app.request_log import REQUEST_LOG
from stowage.app.server.answers import QuickAnswer
from stowage.app.server.bodies import Chunks
from stowage.app.server.connections import Connection
from stowage.app.server.reception import Reception
from stowage.blueprints.streaming import SERVING

_PIECE = 1 << 16
_DRAIN_BYTES = 16 << 20
"""The limit for what a client sends after its answer."""
_log = logging.getLogger(__name__)


class Worker(Reception):
    """Runs requests in threads, and leaves unsent parts of quick answers and the bodies of refused uploads to the main thread."""

    slot = 0
    """A number that no other living worker has."""
    has_cut = False
    """Whether requests were cut, so that the process must not wait for their threads."""

    def init_signals(self) -> None:
        """Leave to the parent what a terminal sends to all: Ctrl-C, and SIGHUP when it is closed."""
        super().init_signals()
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGQUIT})

    def run(self) -> None:
        """Serve until the process is to stop, and say how many requests that has cut."""
        super().run()
        if cut := self._seats.running:
            self.wsgi.extensions[REQUEST_LOG].cut()
            _log.warning("%d running %s cut: the service stops", cut, "request was" if cut == 1 else "requests were")
            self.has_cut = True

    def load_wsgi(self) -> None:
        """Let the application see when this process is stopping, so that live streams end."""
        super().load_wsgi()
        self.wsgi.extensions[SERVING] = lambda: self.alive

    def enqueue_req(self, conn: Connection) -> None:
        """Run the request in a thread, then go on in the main thread. Done callbacks of a Future would take longer than a short request."""
        self.tpool.submit(self._run, conn)

    def _run(self, conn: Connection) -> None:
        """Handle a request. A quick one gets its answer in place of the socket: gunicorn would have that wait for the client."""
        conn.keep, sock = False, conn.sock
        try:
            if conn.kind.never_waits_for_client:
                conn.sock = conn.answer = QuickAnswer(sock, conn.client, conn.server, conn.door.spools, is_health=conn.door.is_health)
            conn.keep = bool(self.handle(conn))
        finally:
            conn.sock = sock
            self.method_queue.defer(self.finish_request, conn)

    def handle_request(self, req: Any, conn: Connection) -> object:
        """Run the application; the part of a quick answer that the client does not accept at once is left to the main thread."""
        conn.parser.unreader.in_head = False
        if isinstance(req.body.reader, ChunkedReader):
            req.body.reader = Chunks(req, conn.parser.unreader)
        answer = conn.sock
        if not isinstance(answer, QuickAnswer):
            return super().handle_request(req, conn)
        try:
            keepalive = super().handle_request(req, answer)
            answer.flush()
        except BaseException:
            answer.discard()
            raise
        return keepalive

    def handle_error(self, req: object, client: Any, addr: object, exc: BaseException) -> None:
        """Answer a request that cannot be handled."""
        super().handle_error(req, client, addr, exc)
        if isinstance(client, QuickAnswer):
            with suppress(OSError):  # the client has left
                client.flush()

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Discard what has arrived of a body that was not read; no thread waits for more. The main thread discards the rest of a body
        whose length is known. With any other, the connection ends.
        """
        if conn.sock.gettimeout() != 0:
            conn.sock.setblocking(False)
        reader, unreader = conn.parser.mesg.body.reader, conn.parser.unreader
        with suppress(BlockingIOError):
            if isinstance(reader, LengthReader):
                conn.unread, reader.length = reader.length, 0
                enough = conn.unread - _PIECE
                while conn.unread > max(0, enough) and (content := unreader.read()):
                    conn.unread -= len(content)
                if conn.unread < 0:
                    unreader.unread(content[conn.unread :])
                    conn.unread = 0
                return keepalive and conn.unread <= _DRAIN_BYTES
            is_read = conn.parser.finish_body(max_bytes=_PIECE) and not conn.parser.mesg.body.failed
            return bool(keepalive and is_read)
        return keepalive and 0 < conn.unread <= _DRAIN_BYTES

    def finish_request(self, conn: Connection) -> None:
        """Handle the end of a request's thread."""
        self._seats.leave(conn.kind)
        self._fill_seats()
        if conn.sock.fileno() < 0:
            self._end(conn)
        elif conn.is_unsent:
            self._wait(conn, conn.door.sending, self._send, EVENT_WRITE)
        else:
            self._go_on(conn)

    def _send(self, conn: Connection) -> None:
        conn.push()
        if conn.is_unsent:
            conn.move(conn.door.sending)
        else:
            self._leave(conn)
            self._go_on(conn)

    def _go_on(self, conn: Connection) -> None:
        """After an answer, wait for the next request, which may have arrived already, or close."""
        if not conn.keep:
            self._close(conn)
            return
        if conn.unread:
            self._wait(conn, conn.door.closing, self._discard)
            return
        self._wait(conn, conn.door.kept, self._read)
        self._take(conn, self._read_ahead)

    def _close(self, conn: Connection) -> None:
        """Stop sending, and give the client a little time to close its side. It may still be sending a body that was refused: a connection
        that is closed meanwhile would lose the answer in transit.
        """
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(conn)
        else:
            self._wait(conn, conn.door.closing, self._drain)

    def _discard(self, conn: Connection) -> None:
        """Read on in a body that was not read. The client may be sending it before it looks at the answer."""
        content = conn.sock.recv(min(_PIECE, conn.unread))
        conn.unread -= len(content)
        if not content:
            self._drop(conn)
        elif not conn.unread:
            self._leave(conn)
            self._go_on(conn)

    def _drain(self, conn: Connection) -> None:
        content = conn.sock.recv(_PIECE)
        conn.drained += len(content)
        if not content or conn.drained >= _DRAIN_BYTES:
            self._drop(conn)
