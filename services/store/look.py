"""How long a request may look into layers: until its time is over, or its client has disconnected."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, Protocol, TypeVar

from stowage.services.errors import Forbidden
from stowage.services.kept import Kept
from stowage.services.registry.operations import current_operation

_TICK_SECONDS = 0.1


class TookTooLong(Forbidden):
    """The time of the request is over."""


class Look:
    """The time that one request has to read layers, all those of its images together.

    It belongs to the `operation` of the thread that makes it, and ends with it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds
        self.operation = current_operation()

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._until - time.monotonic()

    def check(self, task: str) -> None:
        """Raise TookTooLong if the time is over, and what `Operation.check` raises if nobody waits for the answer any more."""
        self.operation.check()
        if self.left < 0:
            raise TookTooLong(f"{task} takes more than {self.seconds} seconds; STOWAGE_LISTING_SECONDS allows more")

    def checked(self, chunks: Iterable[bytes], task: str) -> Iterator[bytes]:
        """The chunks, with a check after each."""
        for chunk in chunks:
            yield chunk
            self.check(task)


class Turns:
    """Lets one thread of the process at a time do what belongs to a key, so that the others find it done."""

    def __init__(self) -> None:
        self._turns: dict[Hashable, tuple[Lock, int]] = {}
        self._lock = Lock()

    def takers(self, key: Hashable) -> int:
        """How many threads do it, or wait until they may."""
        return self._turns[key][1] if key in self._turns else 0

    @contextmanager
    def take(self, key: Hashable, look: Look, task: str) -> Iterator[None]:
        """Do it alone, after a wait that ends with the look; raises what `Look.check` raises."""
        with self._lock:
            lock, waiting = self._turns.get(key, (Lock(), 0))
            self._turns[key] = lock, waiting + 1
        try:
            while not lock.acquire(timeout=_TICK_SECONDS):
                look.check(f"waiting for another look into {task}")
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._lock:
                lock, waiting = self._turns.pop(key)
                if waiting > 1:
                    self._turns[key] = lock, waiting - 1


class Found(Protocol):
    """What a look has found; `weight` is its memory in bytes, and only what is complete is found again."""

    @property
    def weight(self) -> int: ...

    @property
    def is_complete(self) -> bool: ...


Value = TypeVar("Value", bound=Found)


class KeptLooks(Generic[Value]):
    """What looks have found: the most recently used of it, up to a total weight. One thread at a time looks for the same."""

    def __init__(self, most: int) -> None:
        self._kept: Kept[Hashable, Value] = Kept(most, share=1)
        self._turns = Turns()

    def get(self, key: Hashable, look: Look, task: str, find: Callable[[], Value]) -> Value:
        """What is known by this key, or what `find` finds; raises what that and `Look.check` raise."""
        if (known := self._kept.get(key)) is not None:
            return known
        with self._turns.take(key, look, task):
            if (known := self._kept.get(key)) is not None:
                return known
            found = find()
            if found.is_complete:
                self._kept.put(key, found, found.weight)
            return found
