"""Connections without a thread, each of which waits for its client for a bounded time.

A `Door` has the listeners of one kind (unix, TCP, health) and their connections. A `Room` has those that wait for the same event.
"""

from __future__ import annotations

import copy
import os
import resource
import socket
import time
from typing import Any

from gunicorn.http import get_parser
from gunicorn.workers.gthread import TConn

from stowage.app.server.answers import QuickAnswer, Space
from stowage.app.server.parsing import Head, HeadUnreader
from stowage.app.server.seats import Kind, Pace
from stowage.app.server.tls import TlsSocket

HEAD_SECONDS = 20.0
"""The time for a TLS handshake and the head of a request together."""
STALL_SECONDS = 60.0
"""The time for which a client may accept nothing of a quick answer or of a refusal."""
CLOSE_SECONDS = 5.0
"""The time for a client to close its side: a connection closed earlier could lose the end of the answer in transit."""

_LEAST_CONNECTIONS = 16
"""The lowest limit of a door, however few files may be open; otherwise all connections and their spools may take half of them."""
_HEALTH_CONNECTIONS = 64
"""The most at the health address of a worker."""
_PIECE = 8192


class Room:
    """Connections that wait for the same thing, for at most `seconds`, the longest waiting first."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[Connection, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def add(self, conn: Connection) -> None:
        self._since[conn] = time.monotonic()

    def remove(self, conn: Connection) -> None:
        del self._since[conn]

    @property
    def oldest(self) -> Connection:
        return next(iter(self._since))

    @property
    def due(self) -> float:
        """When the time of the oldest connection is over."""
        return next(iter(self._since.values()), float("inf")) + self.seconds

    def restart(self, seconds: float) -> None:
        """Give every connection this long from now on."""
        self.seconds = seconds
        self._since = dict.fromkeys(self._since, time.monotonic())


class Sizes:
    """The memory of each connection, and the total."""

    def __init__(self) -> None:
        self._sizes: dict[Connection, int] = {}
        self.total = 0

    def note(self, conn: Connection, size: int) -> None:
        self.total += size - self._sizes.pop(conn, 0)
        if size:
            self._sizes[conn] = size

    @property
    def largest(self) -> Connection:
        return max(self._sizes, key=self._sizes.__getitem__)


class Door:
    """The listeners of one kind, unix, TCP or health, and their connections, so that no kind takes anything from another."""

    def __init__(self, cfg: Any, listeners: list[Any], *, is_local: bool = False, is_health: bool = False) -> None:
        self.cfg = _without_tls(cfg) if (is_local or is_health) and cfg.is_ssl else cfg
        self.listeners = listeners
        self.is_local, self.is_health = is_local, is_health
        most = _HEALTH_CONNECTIONS if is_health else cfg.worker_connections
        self._most = min(most, max(_LEAST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))
        self.is_open = False
        self.count = 0
        self.heads = Sizes()
        self.spools: Space  # once the application is loaded
        self.closing, self.opening = Room(CLOSE_SECONDS), Room(HEAD_SECONDS)
        self.kept, self.sending = Room(cfg.keepalive), Room(STALL_SECONDS)
        self.rooms = (self.closing, self.opening, self.kept, self.sending)

    def forget(self, conn: Connection) -> None:
        """Note that a connection has ended."""
        self.count -= 1
        self.heads.note(conn, 0)

    def close(self) -> None:
        """Have the kernel refuse further connections, unless another process listens too."""
        for listener in self.listeners:
            listener.close()

    @property
    def is_crowded(self) -> bool:
        return bool(self.count >= self._most)

    @property
    def dispensable(self) -> Connection | None:
        """The connection to close if there are too many: one that has its answer, else the oldest whose request has not arrived. At the
        health address, where anyone may connect, also one that does not read its answer.
        """
        rooms = self.rooms if self.is_health else (self.closing, self.opening, self.kept)
        return next((room.oldest for room in rooms if room), None)


class Connection(TConn):
    """A client's connection. `room` is where it waits for its client, or None while a request waits for a thread or has one, and
    at the end.
    """

    def __init__(self, door: Door, sock: socket.socket, client: object, server: object) -> None:
        if isinstance(client, bytes):  # an abstract name, which gunicorn would decode as UTF-8
            client = client.decode(errors="backslashreplace")
        super().__init__(door.cfg, sock, client, server)
        self.initialized = True  # so that gunicorn makes neither handshake nor parser
        self.sock: Any
        self.door = door
        self.room: Room | None = None
        self.kind = Kind(Pace.QUICK, door.is_local)
        self.head = Head(self.cfg)
        self.answer: QuickAnswer | None = None  # the last quick one
        self.keep = self.in_handshake = False
        self.drained = 0  # bytes of a body that nobody needs, read after the answer
        if not self.cfg.is_ssl:
            self.begin()

    def begin(self) -> None:
        """Start speaking HTTP."""
        self.parser = get_parser(self.cfg, self.sock, self.client)
        self.parser.unreader = HeadUnreader(self.sock)

    def init(self) -> None:
        """Called in the thread that has the connection now. Until the application sets its own limit, no client is waited for longer."""
        self.parser.unreader.in_head = True
        self.parser.mesg = None  # the body of the last request has been read; gunicorn would try again
        if not self.kind.never_waits_for_client:
            self.sock.settimeout(STALL_SECONDS)

    def take_head(self) -> bytes:
        """The bytes of the head, and perhaps some beyond it; the next head begins."""
        content, self.head = bytes(self.head.content), Head(self.cfg)
        return content

    def move(self, room: Room | None) -> None:
        """Wait in another room for the same event."""
        if self.room is not None:
            self.room.remove(self)
        self.room = room
        if room is not None:
            room.add(self)

    @property
    def is_unsent(self) -> bool:
        """Whether a part of the answer has not been sent yet."""
        return self.answer is not None and self.answer.is_unsent

    def push(self) -> None:
        """Send some of the unsent answer; raises BlockingIOError."""
        if self.answer is not None:
            self.answer.push()

    def close(self, graceful: bool = False) -> None:
        """Close at once, and discard what was not sent."""
        if self.answer is not None:
            self.answer.discard()
        super().close(graceful)

    def receive(self) -> bytes:
        """Some of the bytes that have arrived, none only at the end of the stream. Raises BlockingIOError if there are none yet."""
        content: bytes = self.sock.recv(_PIECE)
        while content and self._has_record():
            content += self.sock.recv(_PIECE)
        return content

    def already_here(self) -> bytes:
        """What arrived with the last request, which the poller does not see."""
        content: bytes = self.parser.unreader.take_buffered()
        return content + self.receive() if self._has_record() else content

    def _has_record(self) -> bool:
        """Whether part of a TLS record is left: TLS reads whole records."""
        return isinstance(self.sock, TlsSocket) and self.sock.pending() > 0


def mark_health(listeners: list[Any], count: int) -> None:
    """Mark the last listeners, `count` of them, as those of the health address. Anyone may use its unix sockets."""
    for listener in listeners[len(listeners) - count :]:
        listener.is_health = True
        if listener.family == socket.AF_UNIX:
            os.chmod(listener.getsockname(), 0o666)


def is_health(listener: Any) -> bool:
    """Whether this listener is one of the health address."""
    return getattr(listener, "is_health", False)


def _without_tls(cfg: Any) -> Any:
    """A copy of the configuration without a certificate."""
    plain = copy.deepcopy(cfg)
    plain.set("certfile", None)
    plain.set("keyfile", None)
    return plain
