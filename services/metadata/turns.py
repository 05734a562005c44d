"""Turns of the writers of an SQLite database.

A writer that waits for SQLite does not queue: it retries up to ten times a second, and may find the database locked each time while another
writes without a pause. So one at a time waits: the threads of a process in their order, and of the processes the one that holds an flock on
a file beside the database. Whoever has written needs that lock for its next transaction, and gets it after the one that waits.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from stowage.services.lock_files import open_lock_file
from stowage.services.metadata.fifo_lock import FifoLock

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns at a database, which a writer takes while it waits for SQLite; nobody waits longer than `timeout` seconds in all."""

    database: str
    timeout: int
    _gate: FifoLock = field(default_factory=FifoLock)

    @contextmanager
    def taken(self) -> Iterator[float]:
        """Take a turn; yields how many seconds are left to wait, 0 if there was none in time."""
        deadline = time.monotonic() + self.timeout
        with ExitStack() as held:
            is_first = held.enter_context(self._gate.held(self.timeout)) and held.enter_context(self._lock(deadline))
            yield max(deadline - time.monotonic(), 0) if is_first else 0

    @contextmanager
    def _lock(self, deadline: float) -> Iterator[bool]:
        """Hold the lock of all processes; yields whether it was got in time. Where it cannot be had, nobody waits for it."""
        try:
            handle = open_lock_file(f"{os.path.realpath(self.database)}-turn")
        except OSError:
            yield True
            return
        try:
            yield _acquire(handle, deadline)
        finally:
            os.close(handle)


def _acquire(handle: int, deadline: float) -> bool:
    pause = _FIRST_PAUSE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        except OSError:  # a file system without such locks
            return True
        else:
            return True
