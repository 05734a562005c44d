"""Who runs and who waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stowage.app.server.seats import COMPUTING, INSTANT, SPARE, Kind, Pace, Seats

READ, READ_TCP, LIST, LIST_TCP, WRITE, WRITE_TCP, LOOK, LOOK_TCP, SLOW, SLOW_TCP, PING, PING_TCP = (
    Kind(pace, local) for pace in (Pace.READ, Pace.LIST, Pace.WRITE, Pace.COMPUTE, Pace.SLOW, Pace.INSTANT) for local in (True, False)
)


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
    assert fill(seats, READ_TCP, 2 * SPARE) == SPARE // 2
    assert fill(seats, READ, 2 * SPARE) == SPARE // 2


@pytest.mark.parametrize("threads", [1, 4, 64])
def test_quick_requests_over_tcp_leave_threads_to_the_unix_socket(threads: int) -> None:
    seats = Seats[str](threads, has_local=True)
    assert fill(seats, READ_TCP, 100) + fill(seats, WRITE_TCP, 100) == SPARE // 2
    assert fill(seats, SLOW_TCP, 100) == threads - threads // 4
    assert fill(seats, READ, 1) == 1


def test_without_a_unix_socket_nothing_is_left_for_it() -> None:
    seats = Seats[str](8, has_local=False)
    assert fill(seats, SLOW_TCP, 10) == 8
    assert fill(seats, READ_TCP, 10) == SPARE
    assert fill(seats, PING_TCP, 10) == INSTANT


def test_local_requests_that_change_the_store_use_idle_threads_too() -> None:
    seats = Seats[str](4, has_local=True)
    assert fill(seats, WRITE, 100) == 4 + SPARE // 2
    assert fill(seats, READ, 100) == SPARE // 2


def test_few_requests_that_only_read_run_at_once_however_many_threads_are_idle() -> None:
    seats = Seats[str](64, has_local=True)
    assert fill(seats, READ, 100) == SPARE // 2
    assert fill(seats, WRITE, 1) == 1


@pytest.mark.parametrize(("lists", "others"), [(LIST, READ), (LIST_TCP, READ_TCP), (LIST_TCP, WRITE_TCP)])
def test_lists_leave_threads_to_requests_about_one_image(lists: Kind, others: Kind) -> None:
    seats = Seats[str](64, has_local=True)
    assert fill(seats, lists, 100) == SPARE // 4
    assert fill(seats, others, 100) == SPARE // 4


def test_few_requests_that_compute_run_at_once_and_share_the_threads_of_slow_ones() -> None:
    seats = Seats[str](64, has_local=True)
    assert fill(seats, LOOK_TCP, 100) == COMPUTING // 2
    assert fill(seats, LOOK, 100) == COMPUTING - COMPUTING // 2
    assert fill(seats, SLOW_TCP, 100) == 48 - COMPUTING // 2
    assert fill(seats, SLOW, 100) == 16 - COMPUTING // 2


@pytest.mark.parametrize("others", [READ, WRITE, LOOK, SLOW])
def test_instant_requests_wait_for_no_others_and_some_of_them_for_nobody_over_tcp(others: Kind) -> None:
    seats = Seats[str](4, has_local=True)
    fill(seats, others, 100)
    assert fill(seats, PING_TCP, 100) == INSTANT // 2
    assert fill(seats, PING, 100) == INSTANT - INSTANT // 2


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
    order = [PING, PING_TCP, READ, READ_TCP, LOOK, LOOK_TCP]
    for kind in reversed(order):
        seats.enter(str(kind), kind)
    assert list(started(seats)) == list(map(str, order))


@pytest.mark.parametrize(
    ("one", "other"), [(READ_TCP, WRITE_TCP), (WRITE_TCP, READ_TCP), (WRITE_TCP, LIST_TCP), (LOOK, SLOW), (SLOW, LOOK)]
)
def test_kinds_that_share_threads_take_turns_in_order_of_arrival(one: Kind, other: Kind) -> None:
    seats = Seats[str](1, has_local=True)
    fill(seats, one, 2 * SPARE)
    seats.enter("waits", other)
    for number in range(100):
        seats.enter(f"later {number}", one)
    order: list[str] = []
    while "waits" not in order and len(order) < 2 * SPARE:
        seats.leave(one)
        order += started(seats)
    assert order[-1] == "waits"


@pytest.mark.parametrize("threads", [2, 3, 4, 64])
def test_requests_that_compute_leave_threads_to_transfers(threads: int) -> None:
    seats = Seats[str](threads, has_local=False)
    assert fill(seats, LOOK_TCP, 100) == min(COMPUTING, threads // 2)
    assert fill(seats, SLOW_TCP, 100) == threads - min(COMPUTING, threads // 2)
