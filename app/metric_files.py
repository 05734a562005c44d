"""The files that the processes of the service write their metrics to, all mapped into memory.

A write to mapped memory for which the disk has no block ends the process (SIGBUS). So the files are in memory, where the store takes no
space, or else in the root, and all of their space is allocated before anyone maps them. A worker that replaces another one continues its
files, so there are never more than `stowage serve` starts with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

_MEMORY = Path("/dev/shm")
_SIZES = {"counter": 1 << 20, "histogram": 1 << 20, "gauge_livesum": 1 << 16}
"""Bytes of a process's files, more than all the values that there can be: labels are bounded (app/metrics.py)."""
PARENT = "parent"
"""The process that starts the workers, as a name of a process."""


def make_folder(root: Path) -> Path:
    """Make an empty folder for the service of this root, for its user alone; raises OSError."""
    name = f"stowage-{os.geteuid()}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}"
    for folder in (_MEMORY / name, root / "metrics"):
        if os.access(folder.parent, os.W_OK | os.X_OK) and _is_free(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            return folder
    raise PermissionError(f"neither {_MEMORY} nor {root} can be written")


def allocate(folder: Path, process: str) -> None:
    """Make the files of a process, unless it continues those of another one; raises OSError if there is no space."""
    for kind, size in _SIZES.items():
        path = folder / f"{kind}_{process}.db"
        if not path.exists():
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, size)
            finally:
                os.close(handle)


def mark_dead(folder: Path, process: str) -> None:
    """Clear what a process has said of itself, such as how busy it is. Unlike prometheus_client's function this keeps the space."""
    path = folder / f"gauge_livesum_{process}.db"
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def _is_free(folder: Path) -> bool:
    """Whether nothing is there but what an earlier service has left: /dev/shm is open to all users, who may have taken the name."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
