"""Ports on loopback for servers that tests start, which no client and no other process of the same run gets."""

from __future__ import annotations

import itertools
import os
import socket
from zlib import crc32

_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_FIRST = 10_000 + crc32(_RUN.encode()) % 10_000
_PORTS = itertools.count(_FIRST + _WORKER, _WORKERS)
"""Below those that the system gives to clients, from 32768 on: a port that a client leaves may be another's before a server has it."""


def free_port(*beside: int) -> int:
    """A port that is free now, as are those at these distances from it."""
    return next(port for port in _PORTS if all(_is_free(port + distance) for distance in (0, *beside)))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
