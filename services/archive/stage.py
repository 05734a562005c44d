"""One step of a pipeline: a function that is applied to chunks of bytes, in a thread if there are many."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from threading import Thread

_THREADED_BYTES = 256 << 10
_QUEUED_CHUNKS = 2


class Stage:
    """Applies a function to chunks in order: to the first few in place, to the others in a thread that may be a few chunks behind.

    Used by one thread. The chunks must not change after `put`.
    """

    def __init__(self, apply: Callable[[bytes], object]) -> None:
        self._apply = apply
        self._in_place = _THREADED_BYTES
        self.failed = False
        """Whether the function raised; chunks are dropped from then on."""
        self.error: Exception | None = None
        """The exception that it raised, until that is raised again or this is closed."""
        self._stopped = False
        self._queue: Queue[bytes | None] = Queue(_QUEUED_CHUNKS)
        self._thread: Thread | None = None

    def put(self, chunk: bytes) -> None:
        """Hand over a chunk; waits while the queue is full. Raises nothing."""
        self._in_place -= len(chunk)
        if self._in_place >= 0:
            self._take(chunk)
            return
        if self._thread is None:
            self._thread = Thread(target=self._run, daemon=True)
            self._thread.start()
        self._queue.put(chunk)

    def finish(self) -> None:
        """Wait for the last chunk; raises what the function raised."""
        self._end()
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.close()

    def close(self) -> None:
        """Drop what is still queued, end the thread, and forget the error, which refers to frames that refer to this."""
        self._stopped = True
        self._end()
        self.error = None

    def _end(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (chunk := self._queue.get()) is not None:
            self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        if self._stopped or self.failed:
            return
        try:
            self._apply(chunk)
        except Exception as exc:  # noqa: BLE001 - finish raises it, in the caller's thread
            self.failed, self.error = True, exc
