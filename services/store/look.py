"""The time that a request may spend reading layers, which ends when its client disconnects; and a cache of the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from stowage.services.errors import Forbidden
from stowage.services.kept import Kept
from stowage.services.registry.operations import current_operation

_TICK_SECONDS = 0.1
_KEPT_BYTES = 80 << 20
"""Memory for what looks have found: trees, what layers did, and differences."""


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
        self._locks: WeakValueDictionary[Hashable, _Turn] = WeakValueDictionary()
        self._guard = Lock()

    @contextmanager
    def take(self, key: Hashable, look: Look, task: str) -> Iterator[None]:
        """Do it alone, after a wait that ends with the look; raises what `Look.check` raises."""
        with self._guard:
            turn = self._locks.setdefault(key, _Turn())
        while not turn.lock.acquire(timeout=_TICK_SECONDS):
            look.check(f"waiting for another look into {task}")
        try:
            yield
        finally:
            turn.lock.release()


class _Turn:
    """Lives as long as a thread has or wants it."""

    def __init__(self) -> None:
        self.lock = Lock()


class Found(Protocol):
    """The result of a look; `weight` is its memory in bytes."""

    @property
    def weight(self) -> int: ...


Value = TypeVar("Value", bound=Found)
_turns = Turns()
_kept: Kept[Hashable, Any] = Kept(_KEPT_BYTES, share=1)


def find_once(key: Hashable, look: Look, task: str, find: Callable[[], tuple[Value, bool]]) -> Value:
    """What is cached by this key, or what `find` finds, one thread at a time; it says whether the next look would find the same.

    Raises what `find` and `Look.check` raise. Values of different types have different keys.
    """
    with _turns.take(key, look, task):
        found: Value | None = _kept.get(key)
        if found is None:
            found, is_complete = find()
            if is_complete:
                _kept.put(key, found, found.weight)
        return found
