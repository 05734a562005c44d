"""Quick answers, whose threads never wait for a client.

While an answer is being made, its thread sends what the client accepts; afterwards the main thread does. Of the unsent rest at most a few
packets are in memory, however long the answer is and however slowly it is read. What is beyond them is in a spool.
"""

from __future__ import annotations

import errno
import logging
from contextlib import suppress
from typing import Any

from stowage.app.server.spool import Space, Spool

_PACKET = 1 << 16
"""How many bytes are sent at once. If a TLS socket would block, the same bytes must be sent again."""
_log = logging.getLogger(__name__)


class QuickAnswer:
    """The socket and the connection of a quick answer."""

    def __init__(self, sock: Any, client: object, server: object, space: Space, *, is_health: bool = False) -> None:
        """`is_health` is for the application: the request arrived at the health address (app/health_address.py)."""
        if sock.gettimeout() != 0:
            sock.setblocking(False)
        self._sock, self.client, self.server, self.is_health = sock, client, server, is_health
        self.family = sock.family  # several ask for it, and a socket makes it anew each time
        self._packet = memoryview(b"")  # sent first, then the spool, then what was added last
        self._spool = Spool(space)
        self._added = bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    @property
    def sock(self) -> QuickAnswer:
        """The socket that gunicorn answers on."""
        return self

    @property
    def is_unsent(self) -> bool:
        """Whether a part is still to be sent."""
        return bool(self._packet or self._spool or self._added)

    def sendall(self, content: bytes) -> None:
        """Add to the answer. Once there is more than a packet, send what the client accepts now.

        Raises OSError if the client has left, and ConnectionResetError if the rest cannot be stored.
        """
        self._added += content
        if len(self._added) > _PACKET:
            self.flush()

    def send(self, content: bytes) -> int:
        self.sendall(content)
        return len(content)

    def settimeout(self, seconds: float | None) -> None:
        """Do nothing: no thread waits for the client of a quick answer."""

    def setblocking(self, flag: bool) -> None:
        """Do nothing, as settimeout."""

    def flush(self) -> None:
        """Send what can be sent now, a small answer in one piece. Raises as sendall."""
        with suppress(BlockingIOError):
            while self.is_unsent:
                self.push()
        try:
            self._store()
        except OSError as exc:
            _log.warning("an answer was cut off, since its unread part could not be stored: %s", exc.strerror)
            raise ConnectionResetError(errno.ECONNRESET, "the answer has no end") from exc

    def push(self) -> None:
        """Send once; raises BlockingIOError."""
        if not self._packet and self._spool:
            self._packet = memoryview(self._spool.take(_PACKET))
        elif not self._packet:
            self._packet, self._added = memoryview(self._added), bytearray()
        self._packet = self._packet[self._sock.send(self._packet) :]

    def discard(self) -> None:
        """Send no more."""
        self._packet, self._added = memoryview(b""), bytearray()
        self._spool.close()

    def _store(self) -> None:
        """Leave no more than a packet in memory."""
        if self._spool or len(self._packet) + len(self._added) > _PACKET:
            self._spool.add(self._packet[_PACKET:])
            self._spool.add(self._added)
            self._packet, self._added = memoryview(bytes(self._packet[:_PACKET])), bytearray()
