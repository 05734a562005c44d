"""Modes of transactions, and the lock that hands over in order to the writers of a process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto


class Mode(Enum):
    """The mode of a transaction; those that write run one at a time, except those aside."""

    READ = auto()
    WRITE = auto()
    ASIDE = auto()
    """Change rows that may be lost, and that no other transaction reads for what it changes."""
    MIGRATE = auto()
    """Change the tables, which takes as long as it takes."""


class FifoLock:
    """A lock that is handed over in order: otherwise a thread could wait for as long as others keep coming."""

    def __init__(self) -> None:
        self._state = threading.Lock()
        self._held = False
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def held(self, seconds: float) -> Iterator[bool]:
        """Hold the lock while inside; yields whether it was got in time."""
        got = self._acquire(seconds)
        try:
            yield got
        finally:
            if got:
                self._release()

    def _acquire(self, seconds: float) -> bool:
        turn = threading.Event()
        with self._state:
            if not self._held:
                self._held = True
                return True
            self._waiting.append(turn)
        if turn.wait(seconds):
            return True
        with self._state:
            if turn.is_set():  # it was handed over just now
                return True
            self._waiting.remove(turn)
            return False

    def _release(self) -> None:
        with self._state:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._held = False
