"""The worker process: gunicorn's threaded worker, in which a connection has a thread only while one of its requests runs.

The main thread waits for all connections at once, and takes small steps that never block. The listeners of one kind are a *door*; its
connections wait in *rooms*: for a handshake and a head, for the client to accept an answer, or for the end. When a head is complete, the
request waits for a thread (`seats.py`). Steps of TLS handshakes, which compute, have threads of their own. The main thread sends the rest
of quick answers, and reads the bodies of refused uploads.

If there are too many connections, or their heads take too much memory, only connections of the same door without a request are closed. If
unread answers take too much of the disk, only clients of the same door that do not read theirs are cut off. If no descriptor is free, a
TCP connection is closed first.
"""

from __future__ import annotations

import errno
import logging
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.sock import ssl_context
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from stowage.app.metrics import METRICS
from stowage.app.peers import ADMITS
from stowage.app.request_log import REQUEST_LOG
from stowage.app.server.answers import QuickAnswer, Space
from stowage.app.server.connections import Connection, Door, Room, is_health
from stowage.app.server.parsing import Chunks
from stowage.app.server.seats import Kind, Pace, Routes, Seats
from stowage.app.server.tls import TlsSocket
from stowage.app.settings import CONFIG
from stowage.blueprints.client import LOCAL_SHARE
from stowage.blueprints.streaming import LISTENERS, SERVING

_RETRY_SECONDS = 0.05
_HEAD_BYTES = 32 << 20
"""The limit for all heads that a door's connections have sent, or are about to send, and that no thread has taken yet."""
_HANDSHAKE_BYTES = 64 << 10
"""Roughly what TLS takes for a handshake."""
_HANDSHAKE_THREADS = 2
_LOOK_SECONDS = 0.1
_PIECE = 1 << 16
_DRAIN_BYTES = 16 << 20
"""The limit for what a client sends after its answer."""
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_NO_CONNECTION = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED})
_log = logging.getLogger(__name__)


class Worker(ThreadWorker):
    """gunicorn's threaded worker, with its own path from a connection to a thread and back."""

    slot = 0
    """A number that no other living worker has."""
    has_cut = False
    """Whether requests were cut, so that the process must not wait for their threads."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.worker_connections = self.max_keepalived = sys.maxsize  # the doors count instead
        own = [listener for listener in self.sockets if not is_health(listener)]
        self._doors = {
            local: Door(self.cfg, [listener for listener in own if (listener.family == socket.AF_UNIX) is local], is_local=local)
            for local in (False, True)
        }
        self._health = Door(self.cfg, [listener for listener in self.sockets if is_health(listener)], is_health=True)
        self._seats = Seats[Connection](self.cfg.threads, has_local=bool(self._doors[True].listeners))
        self._handshakes = ThreadPoolExecutor(_HANDSHAKE_THREADS)
        self._look_at = 0.0

    @property
    def _all_doors(self) -> tuple[Door, ...]:
        return (*self._doors.values(), self._health)

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._seats.threads)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._routes = Routes(self.wsgi.url_map)
        self.wsgi.extensions[SERVING] = lambda: self.alive  # so that live streams end
        self.wsgi.extensions[LOCAL_SHARE] = bool(self._doors[True].listeners)
        for door in self._all_doors:
            door.spools = Space(self.wsgi.extensions[CONFIG].content_root)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Called once when the worker starts, and once when it stops."""
        self._accepting = enabled
        for door in self._all_doors:
            self._open_or_close(door)

    def _open_or_close(self, door: Door) -> None:
        """Listen, unless every connection of a crowded door is busy: new ones then wait in the kernel. A worker that stops listens at the
        health address only, while it has other clients: it answers that the service is not ready.
        """
        serves = self._accepting or (door.is_health and any(own.count for own in self._doors.values()))
        opens = serves and not (door.is_crowded and door.dispensable is None)
        if opens is not door.is_open:
            door.is_open = opens
            for listener in door.listeners:
                if opens:
                    listener.setblocking(False)
                    self.poller.register(listener, EVENT_READ, self.accept)
                else:
                    self.poller.unregister(listener)
        if not serves:
            door.close()

    def accept(self, listener: Any) -> None:
        """Accept a connection. If there are too many, or no descriptor is free, close another one."""
        door = self._health if is_health(listener) else self._doors[listener.family == socket.AF_UNIX]
        self._open_or_close(door)
        if not door.is_open:
            return
        try:
            sock, client = listener.accept()
        except OSError as exc:
            if exc.errno in _NO_DESCRIPTOR:
                self._free_descriptor()
            elif exc.errno not in _NO_CONNECTION:
                raise
            return
        if door.is_crowded and door.dispensable is not None:
            self._drop(door.dispensable)
        conn = Connection(door, sock, client, listener.getsockname())
        door.count += 1
        self.nr_conns += 1
        self._wait(conn, door.opening, self._read)

    def _free_descriptor(self) -> None:
        """Close a dispensable connection, TCP first, or wait; gunicorn would end the worker and its transfers."""
        spared = self._health.dispensable or self._doors[False].dispensable or self._doors[True].dispensable
        if spared is None:
            time.sleep(_RETRY_SECONDS)
        else:
            self._drop(spared)

    def _wait(self, conn: Connection, room: Room, step: Callable[[Connection], None], event: int = EVENT_READ) -> None:
        """Take this step whenever the connection is ready for it."""
        conn.room = room
        room.add(conn)
        if conn.sock.gettimeout() != 0:
            conn.sock.setblocking(False)
        self.poller.register(conn.sock, event, partial(self._take, conn, step))
        if not conn.door.is_open:
            self._open_or_close(conn.door)

    def _take(self, conn: Connection, step: Callable[[Connection], None], _: object = None) -> None:
        if conn.room is None:  # it was dropped for another one a moment ago
            return
        try:
            step(conn)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(conn)
        except Exception:
            self.log.exception("unexpected error in the main thread")
            self._drop(conn)

    def _leave(self, conn: Connection) -> None:
        """Stop waiting. During a handshake step the connection is not registered with the poller."""
        if conn.room is not None:
            conn.room.remove(conn)
            conn.room = None
            if not conn.in_handshake:
                self.poller.unregister(conn.sock)

    def _drop(self, conn: Connection) -> None:
        """Close the connection at once, whatever it waits for, or after the handshake step that is running."""
        conn.door.heads.note(conn, 0)
        self._seats.withdraw(conn, conn.kind)
        self._leave(conn)
        if not conn.in_handshake:
            self._end(conn)

    def _end(self, conn: Connection) -> None:
        conn.door.forget(conn)
        self.nr_conns -= 1
        conn.close()
        self._open_or_close(conn.door)
        if not self._accepting:
            self._end_probes()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """As in gunicorn, but check often whether the last clients are done while the worker stops."""
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, _LOOK_SECONDS))

    def notify(self) -> None:
        """Called in every turn of the main loop: leave it to `murder_pending`, since a system call lets another thread run first."""

    def murder_pending(self) -> None:
        """Called in every turn of the main loop: at intervals, tell the arbiter that this process lives, and close the connections whose
        time is over.
        """
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        super().notify()
        self._note_load()
        for door in self._all_doors:
            for room in door.rooms:
                while room.due <= now:
                    self._drop(room.oldest)
            self._make_space(door)

    def _make_space(self, door: Door) -> None:
        """While unread answers take too much of the disk, drop the client that has accepted nothing for longest."""
        while door.spools.is_crowded and door.sending:
            self._drop(door.sending.oldest)

    def _note_load(self) -> None:
        """Let the metrics show how busy this worker is."""
        if metrics := self.wsgi.extensions[METRICS]:
            doors = {"unix": self._doors[True], "tcp": self._doors[False], "health": self._health}
            counts = {name: door.count for name, door in doors.items()}
            metrics.load(self._seats.load(), counts, self.wsgi.extensions[LISTENERS].taken)

    def _cap_keepalive(self, deadline: float) -> None:
        """Called once when the worker stops: give clients without a request a little time to send one."""
        for door in self._all_doors:
            door.opening.restart(STOP_KEEPALIVE_LINGER)
            door.kept.restart(STOP_KEEPALIVE_LINGER)
        self._health.sending.restart(STOP_KEEPALIVE_LINGER)
        self._end_probes()

    def _end_probes(self) -> None:
        """Once a stopping worker has no other clients, take no more probes, and answer those that have begun."""
        self._open_or_close(self._health)
        while not self._health.is_open and self._health.kept:
            self._drop(self._health.kept.oldest)

    def _read(self, conn: Connection) -> None:
        """Read what the client has sent."""
        if conn.parser is None:
            self.poller.unregister(conn.sock)
            conn.in_handshake = True  # nothing else may use the socket meanwhile
            self._handshakes.submit(self._shake, conn)
            self._note_head(conn, _HANDSHAKE_BYTES)
            return
        content = conn.receive()
        if content:
            self._feed(conn, content)
        else:
            self._drop(conn)

    def _read_ahead(self, conn: Connection) -> None:
        """Read what arrived after the last request."""
        content = conn.already_here()
        if content:
            self._feed(conn, content)

    def _feed(self, conn: Connection, content: bytes) -> None:
        """Add to the head; when it is complete, or invalid, the request waits for a seat."""
        is_ready = conn.head.feed(content)
        self._note_head(conn, len(conn.head.content))
        if conn.room is None:
            return
        if is_ready:
            self._leave(conn)
            self._admit(conn, conn.take_head())
        elif conn.room is conn.door.kept:
            conn.move(conn.door.opening)

    def _note_head(self, conn: Connection, size: int) -> None:
        """Note the size of the head. If the sum is too large, drop the largest, of equal ones the oldest."""
        heads = conn.door.heads
        heads.note(conn, size)
        if heads.total > _HEAD_BYTES:
            self._drop(heads.largest)

    def _admit(self, conn: Connection, head: bytes) -> None:
        conn.parser.unreader.unread(head)
        pace = Pace.HEALTH if conn.door.is_health else self._routes.pace(head)
        if pace is Pace.SLOW and self._is_refused(conn):
            pace = Pace.QUICK
        conn.kind = Kind(pace, conn.door.is_local)
        self._seats.enter(conn, conn.kind)
        self._fill_seats()

    def _is_refused(self, conn: Connection) -> bool:
        """Whether the application refuses the peer, which is quick whatever it asks for."""
        return not self.wsgi.extensions[ADMITS]({"gunicorn.socket": conn.sock})

    @cached_property
    def _tls_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = ssl_context(self.cfg)
        return context

    def _shake(self, conn: Connection) -> None:
        """A step of a handshake, in a thread: it computes for about a millisecond, and never waits for the client."""
        outcome: int | Exception = 0
        try:
            if conn.room is not None:  # otherwise it was dropped while the step waited for a thread
                if not isinstance(conn.sock, TlsSocket):
                    conn.sock = TlsSocket(conn.sock, self._tls_context)
                outcome = conn.sock.shake()
        except Exception as exc:  # noqa: BLE001 - an error is an outcome too
            outcome = exc
        self.method_queue.defer(self._shaken, conn, outcome)

    def _shaken(self, conn: Connection, outcome: int | Exception) -> None:
        """Handle the outcome of a step: the event to wait for before the next one, 0 at the end of the handshake, or an error."""
        conn.in_handshake = False
        if conn.room is None:
            self._end(conn)
        elif isinstance(outcome, Exception):
            if not isinstance(outcome, (ssl.SSLEOFError, ConnectionError)):
                self.log.warning("Invalid request from ip=%s: %s", conn.client[0], outcome)
            conn.move(None)
            self._close(conn)
        else:
            self.poller.register(conn.sock, outcome or EVENT_READ, partial(self._take, conn, self._read))
            if not outcome:
                conn.begin()
                self._take(conn, self._read)

    def _fill_seats(self) -> None:
        while (conn := self._seats.next()) is not None:
            conn.door.heads.note(conn, 0)
            self.enqueue_req(conn)

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
        """Whether the connection is kept: not if its request has a body that was not read and has not arrived. No thread waits for it; the
        main thread discards what comes of it and closes the connection.
        """
        if conn.sock.gettimeout() != 0:
            conn.sock.setblocking(False)
        with suppress(BlockingIOError):
            is_read = conn.parser.finish_body(max_bytes=_PIECE) and not conn.parser.mesg.body.failed
            return bool(keepalive and is_read)
        return False

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

    def _drain(self, conn: Connection) -> None:
        content = conn.sock.recv(_PIECE)
        conn.drained += len(content)
        if not content or conn.drained >= _DRAIN_BYTES:
            self._drop(conn)
