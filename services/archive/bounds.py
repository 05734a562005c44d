"""Limits of streams and operations: inflated bytes, values of JSON documents, and memory."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from threading import Lock

from stowage.services.budget import Budget, Reservation
from stowage.services.errors import InvalidContent

_UNRESERVED_BYTES = 1 << 20
_STEP_BYTES = 1 << 20
_EMPTY_TEXT_BYTES = sys.getsizeof("")
_SANE_MEMBERS = 1 << 14
_MEMBER_BYTES = 48
_SANE_COMPRESSED = 32 << 20
_COMPRESSED_PER_BYTE = 16
_SANE_VALUES = 1 << 20
_VALUES_PER_BYTE = 2


def text_memory(text: str) -> int:
    """Bytes of memory that the characters of a text take: up to four each, as soon as one of them needs as many."""
    return sys.getsizeof(text) - _EMPTY_TEXT_BYTES


def are_too_many_members(members: int, size: int) -> bool:
    """Whether compressed streams of so many bytes have more members than any encoder makes.

    A member costs about as much as inflating 16 KiB, even if it brings nothing. An empty one may have 8 bytes; real ones have hundreds on
    average, even if each file of a layer is one.
    """
    return members > _SANE_MEMBERS + size // _MEMBER_BYTES


class Costs:
    """Counts what one operation costs against what its client sent, and reserves what it keeps in memory; closed by the caller.

    All its streams count together, nested ones too: each alone may be of a sane size, and inflate from bytes that were themselves inflated
    from almost nothing. So do their compressed bytes and members, which may bring nothing, and the values of its documents. Whatever counts
    streams may be called from several threads.
    """

    def __init__(self, memory: Budget) -> None:
        self._sent = 0
        self._inflated = 0
        self._compressed = 0
        self._members = 0
        self._values = 0
        self._kept = 0
        self._reservation = Reservation(memory)
        self._lock = Lock()

    def send(self, size: int) -> None:
        """Count bytes that the client sent."""
        with self._lock:
            self._sent += size

    def inflate(self, size: int) -> None:
        """Count bytes that a stream inflated to."""
        with self._lock:
            self._inflated += size

    def take(self, size: int) -> bool:
        """Count bytes of a compressed stream; returns whether all streams have too many. Compressed bytes hardly compress once more, and if
        they bring nothing, as empty blocks do, the slowest cost a few tenths of a second a MiB.
        """
        with self._lock:
            self._compressed += size
            return self._compressed > _SANE_COMPRESSED + _COMPRESSED_PER_BYTE * self._sent

    def begin_member(self) -> bool:
        """Count a member of a compressed stream; returns whether there are too many of them."""
        with self._lock:
            self._members += 1
            return are_too_many_members(self._members, self._sent)

    def passes(self, max_ratio: int, max_bytes: int) -> bool:
        """Whether the inflated bytes are beyond both `max_ratio` times the bytes sent and `max_bytes`."""
        return self._inflated > max_bytes and self._inflated > max_ratio * self._sent

    def decode(self, values: int) -> None:
        """Count the values of a JSON document that is about to be decoded; raises InvalidContent if all documents have too many together.

        A compressed archive of thousands of images that are nearly equal has about one for each byte that was sent.
        """
        self._values += values
        if self._values > _SANE_VALUES + _VALUES_PER_BYTE * self._sent:
            raise InvalidContent("the documents of the archive have too many values for the size of what was sent: refused as a bomb")

    def keep(self, size: int) -> None:
        """Count bytes that are kept in memory until the operation ends; raises as `Reservation.hold` does.

        The first MiB is not reserved, so that usual loads never wait. More is reserved a MiB at a time. A negative size takes back what was
        counted and is no longer kept; its reservation stays for what is kept next.
        """
        self._kept += size
        missing = self._kept - _UNRESERVED_BYTES - self._reservation.size
        if missing > 0:
            self._reservation.hold(-(-missing // _STEP_BYTES) * _STEP_BYTES)

    def shrink(self, size: int) -> None:
        """Count only so many bytes as kept from now on, and give back the rest."""
        self._kept = size
        self._reservation.shrink(max(0, size - _UNRESERVED_BYTES))

    def close(self) -> None:
        """Give back the memory."""
        self._reservation.close()


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a stream. It is a bomb when it passes both `max_ratio` (uncompressed to compressed bytes) and `max_bytes`.

    If `costs` is given, all streams that it counts are refused together by the same rule.
    """

    max_ratio: int
    max_bytes: int
    memory: Budget
    costs: Costs | None = None
