"""Locks by key: each is an flock on a file of its own, which exists only while the lock is held or awaited.

An flock belongs to an open file, so it works between threads as well as between processes, and ends with its holder. The file is unlinked
while held. A thread that opened it in the meantime gets a lock on a file without a name. It detects that by the inode and tries again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stowage.services.files import open_lock_file, storage_errors

_POLL_SECONDS = 0.05


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock if it is free; yields whether it was acquired. Never waits."""
    handle = _acquire(path)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            _release(path, handle)


@contextmanager
def wait_lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock, however long that takes; `waiting` is called before each further try and may raise to give up."""
    while (handle := _acquire(path)) is None:
        waiting()
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        _release(path, handle)


def clear_unheld(folder: Path, *, but: str) -> None:
    """Remove the lock files in a folder that are not held, those of killed processes, except names with one suffix."""
    for path in (path for path in folder.iterdir() if path.suffix != but):
        with try_lock(path):
            pass


@storage_errors()
def is_locked(path: Path) -> bool:
    """Whether the lock is held at this moment."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _flock(handle)
    finally:
        os.close(handle)


@storage_errors()
def _acquire(path: Path) -> int | None:
    while True:
        handle = open_lock_file(path)
        acquired = False
        try:
            if not _flock(handle):
                return None
            acquired = _is_named(path, handle)
            if acquired:
                return handle
        finally:
            if not acquired:
                os.close(handle)


def _flock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_named(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _release(path: Path, handle: int) -> None:
    """Unlink before closing: the next holder of the lock on the nameless file then finds that it has no name."""
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(handle)
