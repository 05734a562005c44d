"""An upload that begins while its file is still being written, within a budget of memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Condition, Thread

from stowage.services.budget import Budget
from stowage.services.content.bucket import PART_BYTES, PARTS_AT_ONCE, Bucket
from stowage.services.content.files import open_file
from stowage.services.files import storage_errors

UPLOAD_BYTES = PART_BYTES * (PARTS_AT_ONCE + 1)
"""What an upload in parts may keep in memory."""

_ABANDON_SECONDS = 2
_WAIT_SECONDS = 300


def upload_memory(size: int) -> Budget:
    """What the uploads of a process may keep in memory together. Those whose bytes are still to come leave half of it to the others.

    So a writer whose client has stopped never delays one that has all of its bytes.
    """
    size = max(size, UPLOAD_BYTES)
    return Budget(size, size - size // 2, seconds=_WAIT_SECONDS)


class _Abandoned(Exception):
    """The object is not to become visible."""


class Upload:
    """Sends whole parts of a file as they are written, and its end once `finish` says that all bytes are right."""

    def __init__(self, bucket: Bucket, location: str, path: Path, memory: Budget) -> None:
        """Begin; the caller has taken UPLOAD_BYTES of the memory, and the upload gives them back. Raises Internal if there is no file."""
        self.location = location
        self._bucket, self._memory = bucket, memory
        with storage_errors():
            self._file = open_file(path)
        self._changed = Condition()
        self._written = 0
        self._size: int | None = None
        self._is_abandoned = False
        self._failure: Exception | None = None
        self._thread = Thread(target=self._run, name="upload", daemon=True)
        self._thread.start()

    def advance(self, written: int) -> None:
        """So many bytes of the file are written and will not change."""
        with self._changed:
            self._written = written
            self._changed.notify_all()

    def finish(self, size: int) -> None:
        """Let the end through, and wait until the object is complete; raises what the bucket raised."""
        with self._changed:
            self._size = size
            self._changed.notify_all()
        self._thread.join()
        if self._failure:
            raise self._failure

    def abandon(self) -> None:
        """End without an object. A request that the bucket does not answer is not waited for."""
        with self._changed:
            self._is_abandoned = True
            self._changed.notify_all()
        self._thread.join(_ABANDON_SECONDS)

    def _run(self) -> None:
        try:
            self._bucket.put_parts(self.location, self._parts())
        except Exception as exc:  # noqa: BLE001 - raised by `finish`
            self._failure = exc
        finally:
            os.close(self._file)
            self._memory.give_back(UPLOAD_BYTES)

    def _parts(self) -> Iterator[bytes]:
        sent = 0
        while length := self._next(sent):
            with storage_errors():
                part = os.pread(self._file, length, sent)
            sent += len(part)
            yield part

    def _next(self, sent: int) -> int:
        """How many bytes to send now: a whole part, or the rest."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_abandoned or self._size is not None or self._written - sent >= PART_BYTES)
            if self._is_abandoned:
                raise _Abandoned
            return min(PART_BYTES, (self._written if self._size is None else self._size) - sent)
