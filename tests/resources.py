"""What a process holds while it talks to others: threads, sockets and files without a name."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path


def sockets(pid: int | str = "self") -> int:
    """How many sockets a process has open."""
    return len(_sockets(pid))


def sockets_of(pid: int | str) -> set[str]:
    """The sockets of a process, by the numbers that they have in /proc/net."""
    return {name.removeprefix("socket:[").removesuffix("]") for name in _sockets(pid)}


def _sockets(pid: int | str) -> list[str]:
    found = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            name = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            if name.startswith("socket:"):
                found.append(name)
    return found


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
