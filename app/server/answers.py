"""Quick answers, whose threads never wait for a client.

While an answer is being made, its thread sends what the client accepts; afterwards the main thread does. Of the unsent rest at most a few
packets are in memory, however long the answer is and however slowly it is read. What is beyond them is in a file without a name.
"""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from stowage.services.budget import Budget

_PACKET = 1 << 16
"""How many bytes are sent at once. If a TLS socket would block, the same bytes must be sent again."""
_CROWDED_BYTES = 1 << 30
"""Room for twenty unread lists of 100,000 images. Beyond it, those clients are cut off that have accepted nothing for longest."""
_MOST_BYTES = 2 << 30
"""The limit, for answers that are made faster than others are cut off."""
_log = logging.getLogger(__name__)


class Space(Budget):
    """The spools of one door: the folder of their files, and the bytes of all together."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_MOST_BYTES)
        self.folder = folder

    @property
    def is_crowded(self) -> bool:
        return self.taken > _CROWDED_BYTES


class Spool:
    """Bytes that are added at the end and taken at the beginning. There is a file, which nobody else may read, only while there are any."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._file: BinaryIO | None = None
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def add(self, content: bytes | bytearray | memoryview) -> None:
        """Write at the end. Raises OSError if the disk is full, or the space is."""
        if not content:
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0, prefix=".answer-", dir=self._space.folder)  # noqa: SIM115 - see close()
        if not self._space.try_take(len(content)):
            raise OSError(errno.ENOSPC, "the answers that clients do not read take too much of the disk")
        self._end += len(content)
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]

    def take(self, size: int) -> bytes:
        """Read the next bytes, at most this many."""
        if self._file is None:
            return b""
        content = os.pread(self._file.fileno(), size, self._start)
        self._start += len(content)
        if not self:
            self.close()
        return content

    def close(self) -> None:
        """Remove what is left."""
        if self._file is not None:
            self._file.close()
            self._space.give_back(self._end)
            self._file, self._start, self._end = None, 0, 0


class QuickAnswer:
    """The socket and the connection of a quick answer."""

    def __init__(self, sock: Any, client: object, server: object, space: Space, *, is_health: bool = False) -> None:
        """`is_health` is for the application: the request arrived at the health address (app/middleware.py)."""
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
