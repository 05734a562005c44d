"""A cache of values that never change: the most recently used ones are kept, up to a total weight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

_SHARE = 8

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """A mapping whose values together weigh at most `most`; a value that alone weighs more than its `share`, an eighth, is not kept."""

    def __init__(self, most: int, *, share: int = _SHARE) -> None:
        self._most, self._weight, self._share = most, 0, share
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Value | None:
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Key, value: Value, weight: int) -> None:
        """Keep a value, and drop the least recently used ones if there is too little room."""
        with self._lock:
            if key in self._values or weight > self._most // self._share:
                return
            self._values[key] = value, weight
            self._weight += weight
            while self._weight > self._most:
                self._weight -= self._values.popitem(last=False)[1][1]
