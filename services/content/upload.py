"""An upload that begins while its file is still being written, within a budget of memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Condition, Thread

from stowage.services.content.bucket import PART_BYTES, PARTS_AT_ONCE, Bucket
from stowage.services.content.errors import storage_errors
from stowage.services.content.files import open_file
from stowage.services.errors import Unavailable

UPLOAD_BYTES = PART_BYTES * (PARTS_AT_ONCE + 1)
"""What an upload in parts may keep in memory."""

_ABANDON_SECONDS = 2
_WAIT_SECONDS = 300


class UploadMemory:
    """What the uploads of a process may keep in memory together. Those whose bytes are still to come get only half of it.

    So a writer whose client has stopped never delays one that has all of its bytes.
    """

    def __init__(self, size: int) -> None:
        self._free = max(size, UPLOAD_BYTES)
        self._early = self._free // 2
        self._changed = Condition()

    def try_take_early(self) -> bool:
        """Take the memory of an upload that begins early, if there is enough."""
        with self._changed:
            if min(self._early, self._free) < UPLOAD_BYTES:
                return False
            self._early -= UPLOAD_BYTES
            self._free -= UPLOAD_BYTES
            return True

    def take(self, size: int) -> None:
        """Take memory as soon as there is enough; raises Unavailable if that takes minutes."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= size, _WAIT_SECONDS):
                raise Unavailable("too many other blobs are being written to the bucket: try again later")
            self._free -= size

    def give_back(self, size: int, *, early: bool = False) -> None:
        with self._changed:
            self._free += size
            self._early += size if early else 0
            self._changed.notify_all()


class _Abandoned(Exception):
    """The object is not to become visible."""


class Upload:
    """Sends whole parts of a file as they are written, and its end once `finish` says that all bytes are right."""

    def __init__(self, bucket: Bucket, location: str, path: Path, memory: UploadMemory, *, early: bool) -> None:
        """Begin; the caller has taken the memory, which the upload gives back. Raises Internal if the file cannot be opened."""
        self.location = location
        self._bucket, self._memory, self._is_early = bucket, memory, early
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
            self._memory.give_back(UPLOAD_BYTES, early=self._is_early)

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
