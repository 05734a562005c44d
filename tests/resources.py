"""What a process holds while it talks to others: threads, sockets and files without a name."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path


def sockets(pid: int | str = "self") -> int:
    """How many sockets a process has open."""
    count = 0
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            count += os.readlink(f"/proc/{pid}/fd/{descriptor}").startswith("socket:")
    return count


def held() -> tuple[int, int]:
    """Threads and sockets of this process."""
    return threading.active_count(), sockets()


def nameless_files(folder: Path, pid: int | str = "self") -> list[int]:
    """The sizes of the removed files of a folder that a process has open."""
    sizes = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            path = os.readlink(descriptor)
            if path.startswith(f"{folder}/") and path.endswith(" (deleted)"):
                sizes.append(descriptor.stat().st_size)
    return sizes
