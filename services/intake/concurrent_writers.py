"""Whose turn it is to write a blob.

One writer at a time, since a blob that many clients want should be fetched once. But no one waits for a writer that is too slow: a
`docker load` stalled in the middle of a layer, or a very slow registry, would otherwise hold up everyone who wants that layer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from stowage.services.content.protocol import Ingest
from stowage.services.engine import Engine
from stowage.services.gc.leases import Lease
from stowage.services.oci.digest import Digest


@contextmanager
def take_turn(engine: Engine, lease: Lease, digest: Digest, size: int | None, waiting: Callable[[], None]) -> Iterator[tuple[Ingest, bool]]:
    """Hold the ingest of a digest, or one beside it if its holder is slower than the least rate or writes more than the blob's `size`.

    Also yields whether another held it before.

    Writers that the holder delayed wait in the same way for the first of them, and then continue independently. A blob that many want is
    thus fetched only once more, and no one waits longer than twice `turn_seconds` for writers that write nothing. Raises OutOfSpace for a
    size that the store can never take.
    """
    if size is not None:
        engine.content.require_room(size)
    location = lease.take_location(digest)
    waited = False
    with ExitStack() as held:
        for key in (str(digest), f"{digest}:beside"):
            watch = _Watch(engine, digest, size, key, waiting)
            try:
                ingest = held.enter_context(engine.content.ingest(key, lease=lease.id, location=location, waiting=watch))
            except _TooSlow:
                waited = True
                continue
            watch.is_over = True
            yield ingest, waited or watch.has_begun
            return
        key = f"{digest}:{uuid4().hex}"
        yield held.enter_context(engine.content.ingest(key, lease=lease.id, location=location, waiting=waiting)), True


class _TooSlow(Exception):
    """The holder of the ingest is slower than the least rate, or writes what cannot be the blob."""


class _Watch:
    """Called while an ingest is waited for: raises _TooSlow when its holder has written too little, or too much, for `turn_seconds`."""

    def __init__(self, engine: Engine, digest: Digest, size: int | None, key: str, waiting: Callable[[], None]) -> None:
        self.is_over = False
        self._content = engine.content
        self._seconds = engine.limits.turn_seconds
        self._least = engine.limits.least_rate * self._seconds
        self._digest = digest
        self._most = math.inf if size is None else size
        self._key = key
        self._waiting = waiting
        self._size, self._until = 0, 0.0

    def __call__(self) -> None:
        self._waiting()
        if not self._until:
            self._begin()
        if self.is_over or time.monotonic() < self._until:
            return
        size = self._content.partial_size(self._key)
        written = size - self._size
        if size > self._most or (0 <= written < self._least and not self._is_settling()):  # a partial that shrank was begun anew
            raise _TooSlow
        self._begin()

    @property
    def has_begun(self) -> bool:
        """Whether the ingest was waited for."""
        return self._until > 0

    def _begin(self) -> None:
        self._size = self._content.partial_size(self._key)
        self._until = time.monotonic() + self._seconds

    def _is_settling(self) -> bool:
        """Whether the holder is only waiting for its disk: it is reading the existing part again, or publishing."""
        with self._content.locked(self._digest) as free:
            return not free
