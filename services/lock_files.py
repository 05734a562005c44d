"""Lock files: nobody but the store's own user can open one, and so hold a lock on it.

To open a file for reading is enough for an flock. So a lock is never on a folder or a file that others may read.
"""

from __future__ import annotations

import os
from pathlib import Path


def open_lock_file(path: Path | str) -> int:
    """The descriptor of a lock file, which is made if it is missing; never that of the target of a symlink.

    Raises OSError, also if the file is another user's who lets everybody open it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(handle).st_mode & 0o077:
            os.fchmod(handle, 0o600)
    except OSError:
        os.close(handle)
        raise
    return handle
