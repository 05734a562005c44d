"""The worker process: gunicorn's threaded worker, in which a connection has a thread only while a request of it runs.

The main thread waits for all the others: for handshakes and heads of requests to come, for quick answers to be taken, for clients to close.
What it does for one of them is a small step that never blocks; the steps of handshakes, which compute, have two threads of their own. A
request whose head is whole waits for a seat (`app/seats.py`) and then runs in a thread, as in gunicorn.

What is too much, connections or memory for them, is at the expense of those that have not sent a request, of the same kind of listener only.
"""

from __future__ import annotations

import errno
import socket
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from app.connections import BLOCKED, STALL_SECONDS, Answer, Connection, Door, Room
from app.handshakes import Handshakes, Outcome
from app.heads import Head
from app.quick import Routes
from app.seats import SPARE, Kind, Seats
from blueprints.streaming import SERVING

_DRAIN_BYTES = 16 << 20
_DRAIN_SECONDS = 5.0
_RETRY_SECONDS = 0.05
_HEAD_BYTES = 32 << 20
"""Of all heads that a door's connections have sent and that no thread has taken yet."""
_ANSWER_BYTES = 64 << 20
"""Of all quick answers that a door's clients have not taken yet; beyond it they must be quicker."""
_HURRY_SECONDS = 2.0
_CLOSE_BYTES = 1 << 16
_LOOK_SECONDS = 0.1
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_NO_CONNECTION = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED})


class Worker(ThreadWorker):
    """gunicorn's threaded worker, speaking TLS on TCP only, with other ways to a request and from it."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.worker_connections = self.max_keepalived = sys.maxsize  # the doors count instead
        self._doors = {local: Door(self.cfg, self.sockets, is_local=local) for local in (False, True)}
        self._seats = Seats[Connection](self.cfg.threads, has_local=bool(self._doors[True].listeners))
        self._look_at = 0.0

    def get_thread_pool(self) -> ThreadPoolExecutor:
        self._handshakes = Handshakes(self.cfg, partial(self.method_queue.defer, self._shaken))
        return ThreadPoolExecutor(self.cfg.threads + SPARE)

    def load_wsgi(self) -> None:
        """Tell the application when this process is to stop, so that live streams end."""
        super().load_wsgi()
        self._routes = Routes(self.wsgi.url_map)
        self.wsgi.extensions[SERVING] = lambda: self.alive

    # A connection comes.

    def set_accept_enabled(self, enabled: bool) -> None:
        self._accepting = enabled
        for door in self._doors.values():
            self._open_or_close(door)

    def _open_or_close(self, door: Door) -> None:
        """Listen, unless every connection of a crowded door is at work: the next ones then wait in the kernel."""
        opens = self._accepting and not (door.is_crowded and door.dispensable is None)
        if opens is door.is_open:
            return
        door.is_open = opens
        for listener in door.listeners:
            if opens:
                listener.setblocking(False)
                self.poller.register(listener, EVENT_READ, self.accept)
            else:
                self.poller.unregister(listener)

    def accept(self, listener: Any) -> None:
        """Take a connection; where there are too many, or no descriptor is free, another one makes way."""
        door = self._doors[listener.family == socket.AF_UNIX]
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
        """Close a connection that can be spared, TCP's first, or wait; gunicorn would end the worker and its transfers."""
        spared = self._doors[False].dispensable or self._doors[True].dispensable
        if spared is None:
            time.sleep(_RETRY_SECONDS)
        else:
            self._drop(spared)

    # It waits for its client.

    def _wait(self, conn: Connection, room: Room, step: Callable[[Connection], None], event: int = EVENT_READ) -> None:
        """Take this step whenever the client lets the connection."""
        conn.room = room
        room.add(conn)
        if conn.sock.gettimeout() != 0:
            conn.sock.setblocking(False)
        self.poller.register(conn.sock, event, partial(self._take, conn, step))
        if not conn.door.is_open:
            self._open_or_close(conn.door)

    def _take(self, conn: Connection, step: Callable[[Connection], None], _: object = None) -> None:
        if conn.room is None:  # it had to go for another one a moment ago
            return
        try:
            step(conn)
        except BLOCKED:
            pass
        except OSError:
            self._drop(conn)
        except Exception:
            self.log.exception("unexpected error in the main thread")
            self._drop(conn)

    def _leave(self, conn: Connection) -> None:
        """Wait no longer. During a step of the handshake the poller does not know the connection."""
        if conn.room is not None:
            conn.room.remove(conn)
            conn.room = None
            if not conn.in_handshake:
                self.poller.unregister(conn.sock)

    def _drop(self, conn: Connection) -> None:
        """Close the connection at once, whatever it waits for; after a step of the handshake that is on its way."""
        self._seats.withdraw(conn, conn.kind)
        self._leave(conn)
        if not conn.in_handshake:
            self._end(conn)

    def _end(self, conn: Connection) -> None:
        conn.door.forget(conn)
        self.nr_conns -= 1
        conn.close()
        self._open_or_close(conn.door)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """As gunicorn does, and when the worker stops also looking often whether the last clients are done."""
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, _LOOK_SECONDS))

    def murder_pending(self) -> None:
        """Called in every turn of the main loop: now and then close the connections whose time is over."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        for door in self._doors.values():
            door.sending.seconds = _HURRY_SECONDS if door.answers.total > _ANSWER_BYTES else STALL_SECONDS
            for room in door.rooms:
                while room.due <= now:
                    self._drop(room.oldest)

    def _cap_keepalive(self, deadline: float) -> None:
        """Called once when the worker stops: clients without a request have a little time to send one."""
        for door in self._doors.values():
            door.opening.restart(STOP_KEEPALIVE_LINGER)
            door.kept.restart(STOP_KEEPALIVE_LINGER)

    # Its request comes.

    def _read(self, conn: Connection) -> None:
        """Take what the client sent."""
        if conn.parser is None:
            self.poller.unregister(conn.sock)
            self._handshakes.step(conn)
            return
        content = conn.receive()
        if content:
            self._feed(conn, content)
        else:
            self._drop(conn)

    def _feed(self, conn: Connection, content: bytes) -> None:
        """Add to the head; when it is whole, or wrong, the request waits for a seat."""
        heads = conn.door.heads
        is_ready = conn.head.feed(content)
        heads.note(conn, len(conn.head.content))
        if is_ready:
            self._leave(conn)
            self._admit(conn, bytes(conn.head.content))
        elif conn.room is conn.door.kept:
            conn.move(conn.door.opening)
        if heads.total > _HEAD_BYTES:
            self._drop(heads.largest)

    def _admit(self, conn: Connection, head: bytes) -> None:
        conn.parser.unreader.unread(head)
        conn.kind = Kind(self._routes.is_quick(head), conn.door.is_local)
        self._seats.enter(conn, conn.kind)
        self._fill_seats()

    def _shaken(self, conn: Connection, outcome: Outcome) -> None:
        """A step of the handshake is done."""
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

    # It runs, and is answered.

    def _fill_seats(self) -> None:
        while (conn := self._seats.next()) is not None:
            conn.door.heads.note(conn, 0)
            self.enqueue_req(conn)

    def handle_request(self, req: object, conn: Connection) -> object:
        """Run the application; of a quick answer what the client does not take at once is left to the main thread."""
        if not conn.kind.quick:
            return super().handle_request(req, conn)
        conn.answer = Answer(conn.sock, conn.client, conn.server)
        try:
            return super().handle_request(req, conn.answer)
        finally:
            conn.answer.flush()

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Take a bounded part of a body that nobody read: a connection closed under a sender loses the answer on its way to it."""
        drained = conn.parser.finish_body(deadline=time.monotonic() + _DRAIN_SECONDS, max_bytes=_DRAIN_BYTES)
        return bool(keepalive and drained)

    def finish_request(self, conn: Connection, fs: Future[object]) -> None:
        """The thread has done its part."""
        self._seats.leave(conn.kind)
        self._fill_seats()
        conn.keep = not fs.cancelled() and fs.exception() is None and bool(fs.result())
        if conn.sock.fileno() < 0:
            self._end(conn)
        elif conn.unsent:
            conn.door.answers.note(conn, conn.unsent)
            self._wait(conn, conn.door.sending, self._send, EVENT_WRITE)
        else:
            self._go_on(conn)

    def _send(self, conn: Connection) -> None:
        conn.push()
        conn.door.answers.note(conn, conn.unsent)
        if conn.unsent:
            conn.move(conn.door.sending)
        else:
            self._leave(conn)
            self._go_on(conn)

    def _go_on(self, conn: Connection) -> None:
        """After an answer: to the next request, which may be here already, or to the end."""
        if not conn.keep:
            self._close(conn)
            return
        conn.head = Head(conn.cfg)
        self._wait(conn, conn.door.kept, self._read)
        content = conn.already_here()
        if content:
            self._take(conn, partial(self._feed, content=content))

    def _close(self, conn: Connection) -> None:
        """Say that nothing more will come, and leave the client a little time to close its side."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(conn)
        else:
            self._wait(conn, conn.door.closing, self._drain)

    def _drain(self, conn: Connection) -> None:
        content = conn.sock.recv(_CLOSE_BYTES)
        conn.drained += len(content)
        if not content or conn.drained >= _CLOSE_BYTES:
            self._drop(conn)
