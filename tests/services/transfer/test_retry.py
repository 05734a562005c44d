"""Calls that ask registries, in threads of their own."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from threading import Event

import pytest

from stowage.services.errors import RegistryFailure
from stowage.services.transfer.retry import awaited
from tests.waiting import poll


class Answer:
    """Something large that a call has read."""


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
def test_what_a_failed_call_has_read_is_free_at_once() -> None:
    read: list[weakref.ref[Answer]] = []

    def call() -> None:
        answer = Answer()
        read.append(weakref.ref(answer))
        raise RegistryFailure("later")

    with pytest.raises(RegistryFailure) as caught:
        for _ in awaited(call):
            pass
    del caught
    poll(lambda: read[0]() is None)


@pytest.mark.usefixtures("no_collection")
def test_what_a_call_has_read_that_fails_when_nobody_waits_is_free_at_once() -> None:
    read: list[weakref.ref[Answer]] = []
    goes_on = Event()

    def call() -> None:
        answer = Answer()
        read.append(weakref.ref(answer))
        goes_on.wait(20)
        raise RegistryFailure("cancelled")

    waiting = awaited(call)
    next(waiting)
    waiting.close()
    del waiting
    goes_on.set()
    poll(lambda: read[0]() is None)
