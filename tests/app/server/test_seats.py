"""Who runs and who waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stowage.server.seats import SPARE, Kind, Seats

QUICK, QUICK_TCP, SLOW, SLOW_TCP = (Kind(quick, local) for quick in (True, False) for local in (True, False))


def fill(seats: Seats[str], kind: Kind, count: int) -> int:
    """How many of so many jobs of a kind run."""
    for number in range(count):
        seats.enter(f"{kind} {number}", kind)
    return sum(1 for _ in started(seats))


def started(seats: Seats[str]) -> Iterator[str]:
    while (job := seats.next()) is not None:
        yield job


@pytest.mark.parametrize(("threads", "over_tcp"), [(1, 1), (2, 2), (3, 3), (4, 3), (8, 6), (64, 48)])
def test_of_slow_requests_as_many_run_as_there_are_threads_and_over_tcp_a_quarter_less(threads: int, over_tcp: int) -> None:
    seats = Seats[str](threads, has_local=True)
    assert fill(seats, SLOW_TCP, threads + 1) == over_tcp
    assert fill(seats, SLOW, threads + 1) == threads - over_tcp
    assert fill(seats, QUICK_TCP, 2 * SPARE) == SPARE // 2
    assert fill(seats, QUICK, 2 * SPARE) == SPARE // 2


@pytest.mark.parametrize("threads", [1, 4, 64])
def test_quick_requests_over_tcp_leave_threads_to_the_unix_socket(threads: int) -> None:
    seats = Seats[str](threads, has_local=True)
    assert fill(seats, QUICK_TCP, 100) == SPARE // 2
    assert fill(seats, SLOW_TCP, 100) == threads - threads // 4
    assert fill(seats, QUICK, 1) == 1


def test_without_a_unix_socket_nothing_is_left_for_it() -> None:
    seats = Seats[str](8, has_local=False)
    assert fill(seats, SLOW_TCP, 10) == 8
    assert fill(seats, QUICK_TCP, 10) == SPARE


def test_quick_requests_use_idle_threads_too() -> None:
    seats = Seats[str](4, has_local=True)
    assert fill(seats, QUICK, 100) == 4 + SPARE
    assert fill(seats, SLOW, 1) == 1


def test_whoever_waits_runs_when_one_of_its_kind_has_ended_in_order() -> None:
    seats = Seats[str](1, has_local=True)
    for name in ("first", "second", "third"):
        seats.enter(name, SLOW)
    assert list(started(seats)) == ["first"]
    seats.withdraw("second", SLOW)
    seats.leave(SLOW)
    assert list(started(seats)) == ["third"]


def test_quick_ones_go_first_and_local_ones_before_others() -> None:
    seats = Seats[str](9, has_local=True)
    for kind in (SLOW_TCP, SLOW, QUICK_TCP, QUICK):
        seats.enter(str(kind), kind)
    assert list(started(seats)) == [str(kind) for kind in (QUICK, QUICK_TCP, SLOW, SLOW_TCP)]
