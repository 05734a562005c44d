"""Connections while no thread works for them: each waits for its client, in a room and for a bounded time, behind the door that
it came by.
"""

from __future__ import annotations

import copy
import resource
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

from gunicorn.http import get_parser
from gunicorn.workers.gthread import TConn

from app.heads import Head, HeadUnreader
from app.seats import Kind

HEAD_SECONDS = 20.0
"""For a TLS handshake and the head of a request together."""
STALL_SECONDS = 60.0
"""For a client that takes nothing of a quick answer, or of a refusal."""
CLOSE_SECONDS = 2.0
"""For a client to close its side, as gunicorn gives it: closed before, a connection could lose the end of the answer on its way."""

BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket that does not block raises where it would."""

_LEAST_CONNECTIONS = 16
"""Of a door, however few files may be open: all connections together else take half of them."""
_PIECE = 8192
_PACKET = 1 << 16


class Room:
    """Connections that wait for the same, so long at most; who has waited longest is in front."""

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
        """When the time of the oldest is over."""
        return next(iter(self._since.values()), float("inf")) + self.seconds

    def restart(self, seconds: float) -> None:
        """From now on everyone has so long."""
        self.seconds = seconds
        self._since = dict.fromkeys(self._since, time.monotonic())


class Sizes:
    """What connections hold in memory, and the sum of it."""

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
    """The listeners of one kind, unix or TCP, and the connections that came by them, so that neither kind takes anything from the other."""

    def __init__(self, cfg: Any, listeners: list[Any], *, is_local: bool) -> None:
        self.cfg = _without_tls(cfg) if is_local and cfg.is_ssl else cfg
        self.listeners = [listener for listener in listeners if (listener.family == socket.AF_UNIX) is is_local]
        self.is_local = is_local
        self._most = min(cfg.worker_connections, max(_LEAST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))
        self.is_open = False
        self.count = 0
        self.heads, self.answers = Sizes(), Sizes()
        self.closing, self.opening = Room(CLOSE_SECONDS), Room(HEAD_SECONDS)
        self.kept, self.sending = Room(cfg.keepalive), Room(STALL_SECONDS)
        self.rooms = (self.closing, self.opening, self.kept, self.sending)

    def forget(self, conn: Connection) -> None:
        """A connection is no more."""
        self.count -= 1
        self.heads.note(conn, 0)
        self.answers.note(conn, 0)

    @property
    def is_crowded(self) -> bool:
        return bool(self.count >= self._most)

    @property
    def dispensable(self) -> Connection | None:
        """Which connection to close where there are too many: one that has its answer, else the oldest whose request is not there."""
        return next((room.oldest for room in (self.closing, self.opening, self.kept) if room), None)


class Connection(TConn):
    """A client's connection. `room` is where it waits for its client: None while a request waits for a thread or has one, and
    at the end.
    """

    def __init__(self, door: Door, sock: socket.socket, client: object, server: object) -> None:
        super().__init__(door.cfg, sock, client, server)
        self.initialized = True  # so that gunicorn makes neither handshake nor parser
        self.sock: Any
        self.door = door
        self.room: Room | None = None
        self.kind = Kind(quick=True, local=door.is_local)
        self.head = Head(self.cfg)
        self.answer: Answer | None = None  # the last quick one
        self.keep = self.in_handshake = False
        self.drained = 0
        if not self.cfg.is_ssl:
            self.begin()

    def begin(self) -> None:
        """From here on HTTP is spoken."""
        self.parser = get_parser(self.cfg, self.sock, self.client)
        self.parser.unreader = HeadUnreader(self.sock)

    def init(self) -> None:
        """Called in the thread that has the connection now. Until the application sets its own limit, no client is waited for longer."""
        self.parser.unreader.in_head = True
        self.sock.settimeout(STALL_SECONDS)

    def take_head(self) -> bytes:
        """What came of the head, and maybe beyond it; the next head begins."""
        content, self.head = bytes(self.head.content), Head(self.cfg)
        return content

    def move(self, room: Room | None) -> None:
        """Wait for something else, to be seen on the same event."""
        if self.room is not None:
            self.room.remove(self)
        self.room = room
        if room is not None:
            room.add(self)

    @property
    def unsent(self) -> int:
        """Bytes of the answer that the client has not taken yet."""
        return 0 if self.answer is None else self.answer.size

    def push(self) -> None:
        """Send some of the answer that the client has not taken; raises BLOCKED."""
        if self.answer is not None:
            self.answer.push()

    def receive(self) -> bytes:
        """What has come, a piece of it; empty at its end. Raises BLOCKED where nothing has."""
        content: bytes = self.sock.recv(_PIECE)
        while content and self._has_record():
            content += self.sock.recv(_PIECE)
        return content

    def already_here(self) -> bytes:
        """What has come with the last request, and which the poller does not see."""
        content: bytes = self.parser.unreader.take_buffered()
        return content + self.receive() if self._has_record() else content

    def _has_record(self) -> bool:
        """TLS reads a record at a time, of which a part may be left."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0


class Answer:
    """The socket of a quick answer, which keeps what the client does not take at once, so that its thread need not wait; and its
    connection.
    """

    def __init__(self, sock: Any, client: object, server: object) -> None:
        sock.setblocking(False)
        self._sock, self.client, self.server = sock, client, server
        self._unsent: list[bytes | memoryview] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    @property
    def sock(self) -> Answer:
        """What gunicorn answers on."""
        return self

    @property
    def size(self) -> int:
        """Bytes that are still to be sent."""
        return sum(map(len, self._unsent))

    def sendall(self, content: bytes) -> None:
        """Send it with the next flush."""
        self._unsent.append(content)

    def send(self, content: bytes) -> int:
        self.sendall(content)
        return len(content)

    def settimeout(self, seconds: float | None) -> None:
        """Nothing: nobody waits for the client of a quick answer."""

    def flush(self) -> None:
        """Send what can be sent now; a small answer is one packet."""
        if self._unsent and self.size <= _PACKET:
            self._unsent = [b"".join(self._unsent)]
        with suppress(*BLOCKED):
            while self._unsent:
                self.push()

    def push(self) -> None:
        """Send once; raises BLOCKED."""
        rest = memoryview(self._unsent[0])
        sent = self._sock.send(rest)
        self._unsent[:1] = [rest[sent:]] if sent < len(rest) else []


def _without_tls(cfg: Any) -> Any:
    """The same configuration, without a certificate."""
    plain = copy.deepcopy(cfg)
    plain.set("certfile", None)
    plain.set("keyfile", None)
    return plain
