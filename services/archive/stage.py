"""One step of a pipeline: a function that is applied to the bytes passing by, in a thread where that brings them on sooner."""

from __future__ import annotations

import os
from collections.abc import Callable
from queue import Queue
from threading import BoundedSemaphore, Thread

_THREADED_BYTES = 256 << 10
_QUEUED_CHUNKS = 2

_free_threads = BoundedSemaphore((os.cpu_count() or 1) + 1)
"""Threads that the stages of this process may still begin. With every core busy, one more costs its switches and brings nothing on."""


class Stage:
    """Applies a function to chunks in order: in place, or of many in a thread that may be a few chunks behind.

    A thread is begun as soon as there are many and other stages leave one.

    Used by one thread. The chunks must not change after `put`.
    """

    def __init__(self, apply: Callable[[bytes], object]) -> None:
        self._apply = apply
        self._in_place = _THREADED_BYTES
        self._error: Exception | None = None
        self._stopped = False
        self._queue: Queue[bytes | None] = Queue(_QUEUED_CHUNKS)
        self._thread: Thread | None = None

    @property
    def failed(self) -> bool:
        """Whether the function raised; what is put from then on is dropped."""
        return self._error is not None

    def put(self, chunk: bytes) -> None:
        """Hand over a chunk; waits while the queue is full. Raises nothing."""
        self._in_place -= len(chunk)
        if self._in_place < 0 and self._has_thread():
            self._queue.put(chunk)
        else:
            self._take(chunk)

    def finish(self) -> None:
        """Wait for the last chunk; raises what the function raised."""
        self._end()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Drop what is still queued, and end the thread."""
        self._stopped = True
        self._end()

    def _has_thread(self) -> bool:
        if self._thread is None and _free_threads.acquire(blocking=False):
            self._thread = Thread(target=self._run, daemon=True)
            self._thread.start()
        return self._thread is not None

    def _end(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
            _free_threads.release()

    def _run(self) -> None:
        while (chunk := self._queue.get()) is not None:
            self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        if self._stopped or self.failed:
            return
        try:
            self._apply(chunk)
        except Exception as exc:  # noqa: BLE001 - finish raises it, in the caller's thread
            self._error = exc
