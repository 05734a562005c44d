"""Waiting for a registry without blocking on it, and retrying what may succeed.

A call runs in a thread of its own. The waiting caller can leave at once, even if a connection is not made or an answer does not arrive.
The operation is then cancelled, which ends its connections and so the thread.
"""

from __future__ import annotations

import math
import random
import threading
import time
import traceback
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import TypeVar

from stowage.services.engine import Limits
from stowage.services.errors import EngineError
from stowage.services.progress import Progress
from stowage.services.registry.operations import Operation

_T = TypeVar("_T")

TICK_SECONDS = 0.1
_LONGEST_SECONDS = 30.0
_LONGEST_ASKED_FOR = 120.0
"""Seconds that a registry may ask to wait. If it asks for more, there is no other try."""

_DOCUMENT_TRIES = 3
_DOCUMENT_SHARE = 0.25
_DOCUMENT_LONGEST_ASKED_FOR = 10.0
"""A small request is tried less often, pauses for this share of the usual time, and is not tried again if it has to wait longer."""


class _Window:
    """Bytes and the seconds that they took, counted until there are enough of either to tell whether they come too slowly."""

    def __init__(self, least: float, seconds: float) -> None:
        self._least = least
        self._seconds = seconds
        self._came, self._waited = 0, 0.0

    def add(self, came: int, waited: float) -> None:
        self._came += came
        self._waited += waited

    def close(self) -> bool | None:
        """Whether the bytes came too slowly, beginning a new window; None if it is too early to tell."""
        if self._came < self._least and self._waited < self._seconds:
            return None
        is_slow = self._came < self._least * max(1.0, self._waited / self._seconds)
        self._came, self._waited = 0, 0.0
        return is_slow


class Patience:
    """The limit of attempts: a number of them in a row without any progress, with a longer pause each time.

    Bytes that come more slowly than `least` in `window` seconds are not progress. The bodies alone decide whether a stream is given up. All
    the time of the tries counts for whether they made progress: a registry could otherwise send a byte after each slow head forever.
    """

    def __init__(
        self, tries: int, seconds: float, *, longest: float = _LONGEST_ASKED_FOR, least: float = 0, window: float = math.inf
    ) -> None:
        self._tries = tries
        self._seconds = seconds
        self._longest = longest
        self._stream = _Window(least, window)
        self._whole = _Window(least, window)
        self._failures = 0
        self._is_slow = False
        self._has_advanced = False

    def progressed(self) -> None:
        """Note that the transfer has advanced: its failures do not count any more, unless it is too slow."""
        self._has_advanced = True

    def took(self, seconds: float, came: int = 0) -> None:
        """Note seconds of a try outside of a stream's body, such as for a connection and the head of an answer."""
        self._whole.add(came, seconds)

    def is_too_slow(self, came: int, waited: float) -> bool:
        """Note how many bytes came and how many seconds they took; returns whether this stream is used up."""
        self._whole.add(came, waited)
        self._stream.add(came, waited)
        return self._stream.close() or False

    def pause_after(self, failure: EngineError) -> float:
        """Seconds to wait before the next try; raises the failure if there is none."""
        if (is_slow := self._whole.close()) is not None:
            self._is_slow = is_slow
        if self._has_advanced and not self._is_slow:
            self._failures = 0
        self._has_advanced = False
        self._failures += 1
        asked_for = failure.retry_after
        if asked_for is None or asked_for > self._longest or self._failures >= self._tries:
            raise failure
        pause = min(self._seconds * 2.0 ** (self._failures - 1), _LONGEST_SECONDS)
        pause *= random.uniform(0.5, 1.0)  # jitter, so that transfers that failed together do not retry together
        pause = max(pause, asked_for)
        self._whole.add(0, pause)
        return pause


def in_background(call: Callable[[], _T], operation: Operation) -> Future[_T]:
    """Call in a daemon thread of its own, as part of the operation."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            result = operation.run(call)
        except BaseException as exc:  # noqa: BLE001 - the waiting caller raises it
            _free(exc)
            future.set_exception(exc)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="registry", daemon=True).start()
    return future


def _free(failure: BaseException) -> None:
    """Free what the functions that failed have read. A failure is often in a reference cycle, which the collector may find much later."""
    link: BaseException | None = failure
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__context__


def awaited(call: Callable[[], _T]) -> Generator[Progress, None, _T]:
    """The result of a call that asks registries; yields ticks while waiting. Closing ends its requests at once."""
    operation = Operation()
    future = in_background(call, operation)
    try:
        while not wait([future], timeout=TICK_SECONDS).done:
            yield Progress()
    except BaseException:
        operation.cancel()
        raise
    return future.result()


def patiently(call: Callable[[], _T], limits: Limits) -> Generator[Progress, None, _T]:
    """The result of a small request, tried a few times; yields ticks while waiting. Closing ends the request at once."""
    patience = Patience(_DOCUMENT_TRIES, limits.retry_seconds * _DOCUMENT_SHARE, longest=_DOCUMENT_LONGEST_ASKED_FOR)
    while True:
        try:
            return (yield from awaited(call))
        except EngineError as exc:
            until = time.monotonic() + patience.pause_after(exc)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, TICK_SECONDS))
            yield Progress()
