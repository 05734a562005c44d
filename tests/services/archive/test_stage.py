"""A step of a pipeline: order, failure and end, in place and in its thread."""

from __future__ import annotations

import gc
import threading
from contextlib import suppress
from weakref import ref

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


@pytest.mark.parametrize("count", [pytest.param(2, id="in place"), pytest.param(50, id="in a thread")])
def test_what_the_function_used_is_freed_after_a_failure(count: int) -> None:
    class Used:
        def fail(self, chunk: bytes) -> None:
            raise ZeroDivisionError

    def run() -> ref[Used]:
        used = Used()
        for finish in (True, False):
            stage = Stage(used.fail)
            for _ in range(count):
                stage.put(CHUNK)
            if finish:
                with suppress(ZeroDivisionError):
                    stage.finish()
            else:
                stage.close()
        return ref(used)

    gc.disable()
    try:
        assert run()() is None
    finally:
        gc.enable()


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    stage = Stage(lambda _: None)
    for _ in range(50):
        stage.put(CHUNK)
    stage.close()
    stage.close()
    assert threading.active_count() == before
