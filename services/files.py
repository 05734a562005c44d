"""Files of the store: errors of the system translated into the engine's, and lock files, which only the store's user can open.

A reader of a file can flock it. So no lock is on a folder or a file that others may read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stowage.services.errors import Internal, OutOfSpace


def open_lock_file(path: Path | str) -> int:
    """The descriptor of a lock file, which is made if it is missing; never that of the target of a symlink.

    What root makes belongs to the owner of the folder, as files of SQLite do. Raises OSError, also if the file is another user's who lets
    everybody open it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        file = os.fstat(handle)
        if file.st_mode & 0o077:
            os.fchmod(handle, 0o600)
        if os.geteuid() == file.st_uid == file.st_size == 0 and file.st_nlink == 1:
            os.fchown(handle, os.stat(Path(path).parent).st_uid, -1)
    except OSError:
        os.close(handle)
        raise
    return handle


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise OutOfSpace for a full disk or quota and Internal for any other OSError of the body."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise OutOfSpace(f"the content store has no space left: {exc.strerror}") from exc
        raise Internal(f"the content store failed: {exc}") from exc
