"""Reads end at their deadline, whatever arrives."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from stowage.services.registry.connections import _Deadline
from tests.waiting import poll

SILENCE = 0.1


class EmptyRecords(io.RawIOBase):
    """Reads as OpenSSL does while records without data arrive: it returns only at the end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def readinto(self, _: object, /) -> int:
        while self._connection.recv(1 << 16):
            pass
        return 0


@pytest.fixture
def flooded() -> Iterator[socket.socket]:
    """A connection on which bytes arrive until it is shut down."""
    here, there = socket.socketpair()

    def flood() -> None:
        with there:
            while True:
                try:
                    there.sendall(bytes(1 << 16))
                except OSError:
                    return

    flooding = threading.Thread(target=flood)
    with here:
        flooding.start()
        yield here
    flooding.join(30)


def test_a_read_that_no_silence_ends_is_ended(flooded: socket.socket) -> None:
    flooded.settimeout(SILENCE)
    with closing(_Deadline(EmptyRecords(flooded), flooded)) as answer:
        for _ in range(2):
            with pytest.raises(TimeoutError, match="^timed out$"):
                answer.readinto(bytearray(10))
    poll(lambda: "overdue" not in {thread.name for thread in threading.enumerate()})


def test_a_read_within_its_time_is_left_alone() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(SILENCE)
        answer = _Deadline(here.makefile("rb", buffering=0), here)
        threading.Timer(SILENCE / 2, there.sendall, [b"late"]).start()
        buffer = bytearray(10)
        assert answer.readinto(buffer) == 4
        assert buffer.startswith(b"late")
        there.close()
        assert answer.readinto(buffer) == 0
