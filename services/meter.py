"""Measurements: the calls of the two stores, and the bytes, retries and parts of an operation."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from stowage.services.errors import Damaged, Internal, OutOfSpace, Unavailable
from stowage.services.oci.digest import Digest

_WINDOW_SECONDS = 10.0
_SAMPLE_SECONDS = 0.25
_LEAST_SECONDS = 1.0

PartName = Digest | str
"""A blob, or whatever else is transferred as one."""

Note = Callable[[str, float, str], None]
"""Called with the name of a call of a store, its seconds, and the class of the store's error, empty if there was none."""


class StoreMeter(Protocol):
    """The measurements that the two stores report."""

    def database_call(self, transaction: str, seconds: float, error: str) -> None:
        """A Note of a transaction, from its beginning to its end: `read` or `write`."""

    def content_call(self, call: str, seconds: float, error: str) -> None:
        """A Note of a call that waits for the disk or the bucket: `commit`, `publish`, `open` or `delete`."""

    def removed(self, size: int) -> None:
        """A blob or a partial of this size was removed."""

    def swept(self) -> None:
        """A sweep has ended."""


class Unmetered:
    """A StoreMeter that notes nothing, for a store without metrics."""

    def database_call(self, transaction: str, seconds: float, error: str) -> None: ...

    def content_call(self, call: str, seconds: float, error: str) -> None: ...

    def removed(self, size: int) -> None: ...

    def swept(self) -> None: ...


UNMETERED = Unmetered()


@contextmanager
def timed(note: Note, call: str) -> Iterator[None]:
    """Note how long the body takes, and the error of the store that it raises. Others only pass through it, such as a blob not found."""
    began, error = time.monotonic(), ""
    try:
        yield
    except (Internal, OutOfSpace, Unavailable) as exc:
        error = "" if isinstance(exc, Damaged) else type(exc).__name__
        raise
    finally:
        note(call, time.monotonic() - began, error)


class Tally:
    """The counts of one operation; any of its threads may add to them.

    `bytes` came from a registry or went to it. `reused` blobs of a pull were in the store, `fetched` ones were not. Transfers were tried
    again `retries` times, and `resumes` times one continued where an earlier one had stopped. `parts` says how far it is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.bytes = self.reused = self.fetched = self.retries = self.resumes = 0
        self.parts = PartCounts()

    def add(self, *, moved: int = 0, reused: int = 0, fetched: int = 0, retries: int = 0, resumes: int = 0) -> None:
        with self._lock:
            self.bytes += moved
            self.reused += reused
            self.fetched += fetched
            self.retries += retries
            self.resumes += resumes


@dataclass(frozen=True, slots=True)
class Extent:
    """The progress of an operation: bytes done, the total if it is known, and those of the done ones that took time."""

    done: int
    total: int | None
    moved: int


class PartCounts:
    """The parts of an operation that are expected, and how far each is; any of its threads may say so.

    Of a finished part only the bytes are kept, so an operation may have any number of them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: dict[PartName, int] = {}
        self._reached: dict[PartName, int] = {}
        self._finished = self._skipped = 0

    def expect(self, sizes: Mapping[PartName, int]) -> None:
        """Add parts, with their bytes."""
        with self._lock:
            self._sizes |= sizes

    def reach(self, part: PartName, position: int) -> None:
        """Note that a part is done up to this byte. Called for every chunk, so without a lock: one thread transfers a part."""
        self._reached[part] = position

    def skip(self, count: int) -> None:
        """Note bytes that are reached without being moved: an earlier operation has moved them."""
        with self._lock:
            self._skipped += count

    def finish(self, part: PartName) -> None:
        """Note that all of a part is done. Nothing happens if it is not expected."""
        with self._lock:
            size, reached = self._sizes.pop(part, 0), self._reached.pop(part, 0)
            self._finished += size
            self._skipped += max(0, size - reached)

    def drop(self, part: PartName) -> None:
        """Expect a part no longer: there is nothing to transfer."""
        with self._lock:
            self._sizes.pop(part, None)
            self._reached.pop(part, None)

    def extent(self) -> Extent:
        """How far all of it is. The total is unknown until something is expected."""
        with self._lock:
            done = self._finished + sum(min(size, self._reached.get(part, 0)) for part, size in self._sizes.items())
            total = self._finished + sum(self._sizes.values())
            return Extent(done, total if self._sizes or self._finished else None, max(0, done - self._skipped))

    def running(self) -> list[tuple[PartName, int, int]]:
        """The parts of which some bytes are done, but not all: each with these and its size."""
        with self._lock:
            return [(part, reached, size) for part, size in self._sizes.items() if (reached := self._reached.get(part, 0))]


class Rate:
    """Bytes a second, over the last seconds."""

    def __init__(self, began: float) -> None:
        self._lock = threading.Lock()
        self._samples = deque([(began, 0)])

    def at(self, now: float, moved: int) -> int:
        """The rate if this many bytes have been moved by now, on the clock on which it began; 0 in the first second, which says little."""
        with self._lock:
            while len(self._samples) > 1 and self._samples[1][0] <= now - _WINDOW_SECONDS:
                self._samples.popleft()
            first, before = self._samples[0]
            if now - self._samples[-1][0] >= _SAMPLE_SECONDS:
                self._samples.append((now, moved))
            return max(0, round((moved - before) / (now - first))) if now >= first + _LEAST_SECONDS else 0


def seconds_left(extent: Extent, rate: int) -> int | None:
    """The seconds that the rest takes at this rate, rounded up; None if that cannot be said."""
    if extent.total is None or (extent.done < extent.total and not rate):
        return None
    return math.ceil((extent.total - extent.done) / rate) if extent.done < extent.total else 0
