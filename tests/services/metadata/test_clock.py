"""The clock of a store, which all of its nodes share."""

from __future__ import annotations

import time

import pytest

from stowage.services.errors import Unavailable
from stowage.services.metadata.clock import ServerClock
from stowage.services.metadata.store import MetadataStore

HOUR = 3_600_000_000_000
SECOND = 1_000_000_000


class Server:
    """A server that can be away, and counts how often it is asked."""

    now = 1_700_000_000 * SECOND
    asked = 0
    is_away = False

    def read(self) -> int:
        self.asked += 1
        if self.is_away:
            raise Unavailable("away")
        return self.now


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The monotonic clock, to be set."""
    now = [5]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    return now


def test_the_time_is_that_of_postgresql_whatever_the_machine_says(store: MetadataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    right = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: right - HOUR)
    assert abs(store.clock() - right) < HOUR / 2
    assert store.clock() <= store.clock()


def test_a_server_is_asked_once_a_minute(passed: list[int]) -> None:
    server = Server()
    clock = ServerClock(server.read)
    assert clock() == server.now
    passed[0] += 59 * SECOND
    assert clock() == server.now + 59 * SECOND
    assert server.asked == 1
    passed[0] += SECOND
    server.now += HOUR
    assert clock() == server.now
    assert server.asked == 2


def test_a_server_that_is_away_is_not_missed_once_its_time_is_known(passed: list[int]) -> None:
    server = Server()
    server.is_away = True
    clock = ServerClock(server.read)
    with pytest.raises(Unavailable):
        clock()
    server.is_away = False
    assert clock() == server.now
    server.is_away = True
    passed[0] += 61 * SECOND
    assert clock() == server.now + 61 * SECOND
    assert server.asked == 3
    passed[0] += 30 * SECOND
    clock()
    assert server.asked == 3
