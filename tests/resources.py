"""What a process holds while it talks to others: threads and sockets."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


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
