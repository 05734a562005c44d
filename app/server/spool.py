"""The parts of answers that clients do not accept at once, in files without names instead of in memory."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO

_CROWDED_BYTES = 1 << 30
"""Room for twenty unread lists of 100,000 images. Beyond it, those clients are cut off that have accepted nothing for longest."""
_MOST_BYTES = 2 << 30
"""The limit, for answers that are made faster than others are cut off."""


class Space:
    """The spools of one door: the folder of their files, and the bytes of all together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._taken = 0

    @property
    def is_crowded(self) -> bool:
        return self._taken > _CROWDED_BYTES

    def take(self, size: int) -> None:
        """Count bytes that are about to be written. Raises OSError if they are too many."""
        with self._lock:
            if self._taken + size > _MOST_BYTES:
                raise OSError(errno.ENOSPC, "the answers that clients do not read take too much of the disk")
            self._taken += size

    def give_back(self, size: int) -> None:
        """Count bytes as removed."""
        with self._lock:
            self._taken -= size


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
        self._space.take(len(content))
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
