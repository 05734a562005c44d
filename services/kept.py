"""A cache: the most recently used values are kept, up to a total weight."""

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

    @property
    def weight(self) -> int:
        """The weight of all values."""
        return self._weight

    def get(self, key: Key) -> Value | None:
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: Key, value: Value, weight: int) -> None:
        """Keep a value instead of the key's last one, and drop the least recently used ones if there is too little room."""
        with self._lock:
            self._weight -= self._values.pop(key, (None, 0))[1]
            if weight > self._most // self._share:
                return
            self._values[key] = value, weight
            self._weight += weight
            while self._weight > self._most:
                self._weight -= self._values.popitem(last=False)[1][1]
