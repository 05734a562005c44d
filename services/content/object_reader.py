"""A blob in a bucket, read in blocks, a few of which are fetched ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from stowage.services.content.bucket import Bucket
from stowage.services.content.bucket_errors import Absent
from stowage.services.errors import Internal

_FIRST_BYTES = 64 << 10
_BLOCK_BYTES = 4 << 20
_AHEAD = 2
_ATTEMPTS = 4


class ObjectReader:
    """The part of a binary file that readers of blobs use; used by one thread. Keeps at most three blocks in memory.

    Raises what the bucket raises, and Internal if the object is gone or too short. `relocate` returns the location that the blob has now,
    since a writer may have replaced it.
    """

    def __init__(self, bucket: Bucket, location: str, size: int, relocate: Callable[[], str]) -> None:
        self._bucket, self._location, self._size, self._relocate = bucket, location, size, relocate
        self._fetched: deque[Future[bytes]] = deque()
        self._fetching: ThreadPoolExecutor | None = None
        self._position = self._next = 0
        self._block = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._size - self._position if size < 0 else min(size, self._size - self._position)
        parts: list[memoryview] = []
        while wanted > 0:
            if not self._block:
                self._block = memoryview(self._next_block())
            part = self._block[:wanted]
            self._block = self._block[len(part) :]
            self._position += len(part)
            wanted -= len(part)
            parts.append(part)
        return b"".join(parts)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._drop()
        self._position = self._next = self._size if whence == os.SEEK_END else min(offset, self._size)
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        self._drop()
        if self._fetching:
            self._fetching.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _drop(self) -> None:
        for block in self._fetched:
            block.cancel()
        self._fetched.clear()
        self._block = memoryview(b"")

    def _next_block(self) -> bytes:
        """The block at the position; only a reader that wants more than the first one gets others ahead of it."""
        if self._position == 0:
            block = self._fetch(0, min(_FIRST_BYTES, self._size))
            self._next = len(block)
            return block
        self._fetching = self._fetching or ThreadPoolExecutor(_AHEAD, thread_name_prefix="read-ahead")
        while self._next < self._size and len(self._fetched) < _AHEAD:
            length = min(_BLOCK_BYTES, self._size - self._next)
            self._fetched.append(self._fetching.submit(self._fetch, self._next, length))
            self._next += length
        return self._fetched.popleft().result()

    def _fetch(self, start: int, length: int) -> bytes:
        relocated = False
        for _ in range(_ATTEMPTS):
            tried = self._location  # another block may find out meanwhile that the blob was replaced
            try:
                block = self._bucket.get_range(tried, start, length)
            except Absent:
                location = "" if relocated else self._relocate()
                if not location or location == tried:
                    raise Internal(f"the object {tried} of a blob is gone from the bucket") from None
                self._location, relocated = location, True
                continue
            if len(block) == length:
                return block
        raise Internal(f"the object {self._location} of a blob is shorter than it was")
