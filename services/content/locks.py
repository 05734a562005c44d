"""Locks by key: each is an flock on a file of its own, which exists only while the lock is held or awaited.

An flock belongs to an open file, so it works between threads as well as between processes, and ends with its holder. The file is unlinked
while held. A thread that opened it in the meantime gets a lock on a file without a name. It detects that by the inode and tries again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from stowage.services.content.errors import storage_errors
from stowage.services.lock_files import open_lock_file

_POLL_SECONDS = 0.05


class Locks(Protocol):
    """Locks by name, across all processes that use a bucket. They only save work: nothing is lost if one is."""

    def held(self, name: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold the lock, however long that takes; `waiting` is called about every 50 ms meanwhile and may raise to give up."""

    def attempt(self, name: str) -> AbstractContextManager[bool]:
        """Hold the lock if it is free; yields whether it was acquired. Never waits."""


class FileLocks:
    """The locks of the processes of one node, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def held(self, name: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        return wait_lock(self._path(name), waiting)

    def attempt(self, name: str) -> AbstractContextManager[bool]:
        return try_lock(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name.replace(':', '-')}.name"


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
