"""A lock that is given in the order in which it was asked for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from stowage.services.metadata.writers import FifoLock

WAITERS = 8


def wait_for_waiters(lock: FifoLock, count: int) -> None:
    while len(lock._waiting) < count:
        threading.Event().wait(0.001)


def test_waiters_get_it_in_their_order() -> None:
    lock, order = FifoLock(), list[int]()

    def take(number: int) -> None:
        with lock.held(60) as got:
            assert got
            order.append(number)

    with ThreadPoolExecutor(WAITERS) as pool:
        with lock.held(0) as got:
            assert got
            waiting = []
            for number in range(WAITERS):
                waiting.append(pool.submit(take, number))
                wait_for_waiters(lock, number + 1)
        for each in waiting:
            each.result()
    assert order == list(range(WAITERS))


def test_who_gives_up_is_skipped() -> None:
    lock = FifoLock()
    with ThreadPoolExecutor() as pool:
        with lock.held(0):
            with lock.held(0.01) as got:
                assert not got
            waiting = pool.submit(_try, lock)
            wait_for_waiters(lock, 1)
        assert waiting.result()
    assert _try(lock)


def test_it_is_given_up_when_its_holder_raises() -> None:
    lock = FifoLock()
    try:
        with lock.held(0):
            raise RuntimeError
    except RuntimeError:
        assert _try(lock)


def test_many_threads_that_give_up_at_any_moment_leave_it_free() -> None:
    lock, inside = FifoLock(), threading.Semaphore()

    def take(number: int) -> None:
        with lock.held(number % 7 / 10_000) as got:
            if got:
                assert inside.acquire(blocking=False)
                inside.release()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(take, range(3000)))
    assert _try(lock)


def _try(lock: FifoLock) -> bool:
    with lock.held(60) as got:
        return got
