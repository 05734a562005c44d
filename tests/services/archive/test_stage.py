"""A step of a pipeline: order, failure and end, in place and in its thread."""

from __future__ import annotations

import threading

import pytest

from stowage.services.archive.stage import Stage

CHUNK = bytes(100_000)


@pytest.mark.parametrize("count", [pytest.param(2, id="in place"), pytest.param(50, id="in a thread")])
def test_chunks_are_taken_in_order(count: int) -> None:
    taken: list[bytes] = []
    chunks = [bytes([number]) * 100_000 for number in range(count)]
    stage = Stage(taken.append)
    for chunk in chunks:
        stage.put(chunk)
    stage.finish()
    assert taken == chunks


def test_a_few_bytes_start_no_thread() -> None:
    threads: set[int] = set()
    stage = Stage(lambda _: threads.add(threading.get_ident()))
    stage.put(CHUNK)
    stage.finish()
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("count", [pytest.param(2, id="in place"), pytest.param(50, id="in a thread")])
def test_a_failure_drops_the_rest_and_is_raised_at_the_end(count: int) -> None:
    taken: list[bytes] = []

    def fail(chunk: bytes) -> None:
        taken.append(chunk)
        raise ZeroDivisionError

    stage = Stage(fail)
    for _ in range(count):
        stage.put(CHUNK)
    with pytest.raises(ZeroDivisionError):
        stage.finish()
    assert stage.failed
    assert taken == [CHUNK]


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    stage = Stage(lambda _: None)
    for _ in range(50):
        stage.put(CHUNK)
    stage.close()
    stage.close()
    assert threading.active_count() == before
