"""What a process holds while it talks to others: threads and sockets."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

SECONDS = 20


def poll(ready: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until something is true; fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
