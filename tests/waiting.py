"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 20


def poll(ready: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until something is true; fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.01)
