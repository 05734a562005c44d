"""Waiting for a registry without being held by it, and trying again what may pass.

A call runs in a thread of its own, so that whoever waits can leave within a moment while a connection is not made, or an answer does not
come; the thread then ends by the connection's own time, and what it brings is closed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import TypeVar

from services.engine import Limits
from services.errors import EngineError
from services.progress import Progress

_T = TypeVar("_T")

TICK_SECONDS = 0.1
_LONGEST_SECONDS = 30.0
_LONGEST_ASKED_FOR = 120.0
"""Seconds that a registry may ask to wait; who asks for more gets no other try."""

_DOCUMENT_TRIES = 3
_DOCUMENT_SHARE = 0.25
_LONGEST_SILENCE = 10.0


class Patience:
    """How long something is tried: so many times in a row without any progress, with a longer pause each time."""

    def __init__(self, tries: int, seconds: float, *, longest: float = _LONGEST_ASKED_FOR) -> None:
        self._tries = tries
        self._seconds = seconds
        self._longest = longest
        self._failures = 0

    def progressed(self) -> None:
        """Begin to count anew."""
        self._failures = 0

    def pause_after(self, failure: EngineError) -> float:
        """Seconds to wait before the next try; raises the failure where there is none."""
        self._failures += 1
        asked_for = failure.retry_after
        if asked_for is None or asked_for > self._longest or self._failures >= self._tries:
            raise failure
        pause = min(self._seconds * 2.0 ** (self._failures - 1), _LONGEST_SECONDS)
        return max(pause * random.uniform(0.5, 1.0), asked_for)  # jitter, so that those who failed together do not come back together


def in_background(call: Callable[[], _T]) -> Future[_T]:
    """Call in a daemon thread of its own."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as exc:  # noqa: BLE001 - whoever waits raises it
            future.set_exception(exc)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="registry", daemon=True).start()
    return future


def patiently(call: Callable[[], _T], limits: Limits) -> Generator[Progress, None, _T]:
    """The result of a small request, tried a few times; yields ticks meanwhile. Closing leaves the request to itself."""
    patience = Patience(_DOCUMENT_TRIES, limits.retry_seconds * _DOCUMENT_SHARE, longest=_LONGEST_SILENCE)
    while True:
        future = in_background(call)
        while not wait([future], timeout=TICK_SECONDS).done:
            yield Progress()
        try:
            return future.result()
        except EngineError as exc:
            until = time.monotonic() + patience.pause_after(exc)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, TICK_SECONDS))
            yield Progress()
