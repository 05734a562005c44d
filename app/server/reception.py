"""From a connection to a request: a worker's main thread waits for all connections at once, and takes small steps that never block.

A connection waits for its client in a *room* of the *door* through which it arrived: for a handshake and a head, for the client to accept
an answer, or for its end. When a head is complete, the request waits for a *seat* (`seats.py`), which is a thread. Only the steps of
handshakes, which compute, have threads of their own.

Too many connections, or too much memory for them, cost only connections of the same door that have not sent a request. Too much of the
disk for unread answers costs only clients of the same door that do not read theirs.
When no descriptor is free, a TCP connection is closed first.
"""

from __future__ import annotations

import errno
import socket
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from stowage.app.metrics import METRICS
from stowage.app.peers import ADMITS
from stowage.app.server.connections import Connection, Door, Room, is_health
from stowage.app.server.handshakes import Handshakes, Outcome
from stowage.app.server.seats import Kind, Pace, Routes, Seats
from stowage.app.server.spool import Space
from stowage.app.settings import CONFIG
from stowage.blueprints.client import LOCAL_SHARE
from stowage.blueprints.streaming import LISTENERS

_RETRY_SECONDS = 0.05
_HEAD_BYTES = 32 << 20
"""The limit for all heads that a door's connections have sent, or are about to send, and that no thread has taken yet."""
_HANDSHAKE_BYTES = 64 << 10
"""Roughly what TLS takes for a handshake."""
_LOOK_SECONDS = 0.1
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_NO_CONNECTION = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED})


class Reception(ThreadWorker):
    """gunicorn's threaded worker, with its own path from a connection to a thread."""

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
        self._handshakes = Handshakes(self.cfg, partial(self.method_queue.defer, self._shaken))
        self._look_at = 0.0

    @property
    def _all_doors(self) -> tuple[Door, ...]:
        return (*self._doors.values(), self._health)

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._seats.threads)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._routes = Routes(self.wsgi.url_map)
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
            self._handshakes.step(conn)
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
        pace = Pace.PROBE if conn.door.is_health else self._routes.pace(head)
        if pace is Pace.SLOW and self._is_refused(conn):
            pace = Pace.QUICK
        conn.kind = Kind(pace, conn.door.is_local)
        self._seats.enter(conn, conn.kind)
        self._fill_seats()

    def _is_refused(self, conn: Connection) -> bool:
        """Whether the application refuses the peer, which is quick whatever it asks for."""
        return not self.wsgi.extensions[ADMITS]({"gunicorn.socket": conn.sock})

    def _shaken(self, conn: Connection, outcome: Outcome) -> None:
        """Handle the outcome of a handshake step."""
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
