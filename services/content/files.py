"""Files of the store: only a regular file, by lstat, counts as one.

A symlink would lead a writer into another blob, a FIFO would block its reader for ever, and a folder cannot be replaced by a rename. So
readers treat anything else that a user or a broken file system put in the place of a file as absent. It is never written through, and is
moved away before a file is put there.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from stowage.services.content.locks import wait_lock
from stowage.services.content.paths import Layout


def state(path: Path) -> os.stat_result | None:
    """The state of what is at a path, which another process may remove at any moment; a symlink is not followed."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def file_state(path: Path) -> os.stat_result | None:
    """The state of a regular file; None for anything else."""
    found = state(path)
    return found if found and stat.S_ISREG(found.st_mode) else None


def open_file(name: str | Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file without waiting for anyone; raises FileNotFoundError for anything else.

    The type is checked before, since opening a device may have effects, and after, since the file may have been replaced in between.
    """
    path = Path(name)
    if file_state(path) is None:
        raise FileNotFoundError(path)
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileNotFoundError(path)
    return handle


def open_partial(path: Path) -> int:
    """Open or create the file of a partial, whose lock the caller holds."""
    prepare_partial(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)


def prepare_partial(path: Path) -> None:
    """Make the folder of a partial, whose lock the caller holds, and remove what is neither that folder nor a file in its place."""
    if not _is_folder(path.parent):
        _remove(path.parent)
        path.parent.mkdir(mode=0o700)
    elif file_state(path) is None:
        _remove(path)


def clear_place(layout: Layout, path: Path) -> None:
    """Make room for a file: whatever else is at this path is renamed into an ingest of its own and removed there.

    The rename comes first, since it fails for a folder where something is mounted, before anything in it is lost. What cannot be removed
    is left to the sweep of partials.
    """
    if state(path) is None or file_state(path) is not None:
        return
    key = uuid4().hex
    aside = layout.partial(key)
    with wait_lock(layout.lock(key)):
        aside.parent.mkdir(mode=0o700)
        try:
            os.rename(path, aside)
        finally:
            with suppress(OSError):
                remove_partial(aside)


def remove_partial(path: Path) -> int:
    """Remove the folder of a partial, whose lock the caller holds; returns its bytes, 0 if there is none."""
    size = partial_bytes(path)
    _remove(path.parent)
    return size


def partial_bytes(path: Path) -> int:
    """The bytes in the folder of a partial, which another process may remove at any moment."""
    if not _is_folder(path.parent):
        return 0
    try:
        return sum(found.st_size for entry in path.parent.iterdir() if (found := file_state(entry)))
    except FileNotFoundError:
        return 0


def make_folder(path: Path) -> None:
    """Create a folder for blobs, durably, if it is missing."""
    if not path.is_dir():
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make what was created and renamed in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_folder(path: Path) -> bool:
    found = state(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def _remove(path: Path) -> None:
    """Remove whatever is at a path, and follow no symlink."""
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
