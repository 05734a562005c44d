"""Whose turn it is to bring a blob.

One writer at a time, since a blob that many want should come once; but nobody waits for one who brings too little. A `docker load` that has
stopped in the middle of a layer, or a registry that drips, would otherwise hold up everyone who wants that layer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from services.content.protocol import Ingest
from services.engine import Engine
from services.oci.digest import Digest


@contextmanager
def take_turn(engine: Engine, digest: Digest, size: int | None, waiting: Callable[[], None]) -> Iterator[Ingest]:
    """Hold the ingest of a digest, or one beside it where its holder brings less than the least rate, or more than its `size`.

    Those whom the holder held up wait in the same way for the first of them, and then go on each for itself: so a blob that many want
    still comes once more only, and nobody waits for longer than twice `turn_seconds` for writers that bring nothing.
    """
    with ExitStack() as held:
        for key in (str(digest), f"{digest}:beside"):
            watch = _Watch(engine, digest, size, key, waiting)
            try:
                ingest = held.enter_context(engine.content.ingest(key, waiting=watch))
            except _TooSlow:
                continue
            watch.is_over = True
            yield ingest
            return
        yield held.enter_context(engine.content.ingest(f"{digest}:{uuid4().hex}", waiting=waiting))


class _TooSlow(Exception):
    """Whoever holds the ingest brings less than the least rate, or what cannot be the blob."""


class _Watch:
    """Called while an ingest is waited for: raises _TooSlow when its holder has brought too little, or too much, for `turn_seconds`."""

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
        brought = size - self._size
        if size > self._most or (0 <= brought < self._least and not self._is_settling()):  # a partial that shrank was begun anew
            raise _TooSlow
        self._begin()

    def _begin(self) -> None:
        self._size = self._content.partial_size(self._key)
        self._until = time.monotonic() + self._seconds

    def _is_settling(self) -> bool:
        """Whether the holder has only its disk to wait for: it reads again what was there, or it publishes."""
        with self._content.locked(self._digest) as free:
            return not free
