"""Budgets: bytes or places that the threads of a process share, so that all of them together stay within a limit."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

from stowage.services.errors import Forbidden, Unavailable


class Budget:
    """An amount that threads take from and give back to. Those that must leave `reserve` of it to the others take from `unreserved`."""

    def __init__(self, size: int, reserve: int = 0, *, seconds: float = 0, whole: Budget | None = None) -> None:
        """`seconds` is how long `take` waits. `whole` is given only for the part that is not reserved."""
        self.size = size
        self._seconds = seconds
        self._taken = 0
        self._whole = whole
        self._changed: Condition = whole._changed if whole else Condition()
        self.unreserved = self if whole else Budget(size - reserve, seconds=seconds, whole=self)

    @property
    def is_whole(self) -> bool:
        return self._whole is None

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def free(self) -> int:
        own = self.size - self._taken
        return min(own, self._whole.free) if self._whole else own

    @property
    def lock(self) -> Condition:
        """Makes several steps one: nobody else takes or gives back while it is held, except while `take` waits."""
        return self._changed

    def take(self, amount: int, *, ended: Callable[[], bool] = lambda: False) -> bool:
        """Take so much as soon as it is free; returns whether it was in time, and before `ended` returned true (see `wake`)."""
        with self._changed:
            self._changed.wait_for(lambda: ended() or self.free >= amount, self._seconds)
            return not ended() and self.try_take(amount)

    def try_take(self, amount: int) -> bool:
        """Take so much if it is free; returns whether it was. Never waits."""
        with self._changed:
            if self.free < amount:
                return False
            self._add(amount)
            return True

    def give_back(self, amount: int) -> None:
        with self._changed:
            self._add(-amount)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let those that wait ask again whether they have ended."""
        self.give_back(0)

    def _add(self, amount: int) -> None:
        self._taken += amount
        if self._whole:
            self._whole._add(amount)


class Reservation:
    """The part of the memory for requests that one stream or operation holds. One thread holds and releases; any thread may close."""

    __slots__ = ("_closed", "_memory", "size")

    def __init__(self, memory: Budget) -> None:
        self._memory = memory
        self._closed = False
        self.size = 0

    def hold(self, size: int) -> None:
        """Hold this many bytes more, after a bounded wait if they are in use.

        Raises Unavailable if they are not freed or this is closed in the meantime, and Forbidden if there are never that many.
        """
        if size + self.size > self._memory.size:
            whose = "requests" if self._memory.is_whole else "requests over TCP"
            raise Forbidden(
                f"this needs {size + self.size} bytes of memory at once; "
                f"STOWAGE_REQUEST_MEMORY allows {self._memory.size} for all {whose} together"
            )
        with self._memory.lock:
            if not self._memory.take(size, ended=lambda: self._closed):
                raise Unavailable("other requests use too much memory: try again when some of them have ended")
            self.size += size

    def shrink(self, size: int = 0) -> None:
        """Give back all but this many bytes."""
        with self._memory.lock:
            surplus = max(0, self.size - size)
            self.size -= surplus
            self._memory.give_back(surplus)

    def close(self) -> None:
        """Give back what is held, and hold nothing from now on; a thread that waits for memory gets Unavailable."""
        with self._memory.lock:
            self._closed = True
            self.shrink()
