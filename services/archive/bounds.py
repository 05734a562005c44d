"""What decompression may cost: how far a stream or an operation may inflate, and the memory that the decoders of a process share.

An xz or zstd decoder keeps a window of up to 128 MiB as long as its stream is open, even if no bytes arrive. So the memory that its header
asks for is reserved before the decoder is made, and released when the stream ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Condition, Lock

from stowage.services.errors import Forbidden, Unavailable

_WAIT_SECONDS = 10.0
"""How long a stream waits for others to end. One operation may have several streams open, so two could wait for each other."""


class DecoderMemory:
    """Bytes that the decoders of a process may use together; usable from several threads. `setting` is the setting for the size."""

    def __init__(self, size: int, *, setting: str, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._size = size
        self._setting = setting
        self._wait_seconds = wait_seconds
        self._free = size
        self._changed = Condition()

    @property
    def free(self) -> int:
        """Bytes that are not reserved."""
        return self._free

    def reservation(self) -> Reservation:
        """An empty reservation, for one stream; closed by the caller."""
        return Reservation(self)

    def take(self, size: int, reservation: Reservation) -> None:
        """Take bytes for an open reservation, as soon as enough are free; raises as `Reservation.hold` does."""
        if size > self._size:
            raise Forbidden(f"the stream needs {size} bytes of memory to decompress; {self._setting} allows {self._size} for all streams")
        with self._changed:
            self._changed.wait_for(lambda: reservation.closed or self._free >= size, self._wait_seconds)
            if reservation.closed or self._free < size:
                raise Unavailable("too many compressed streams are open: try again when some of them have ended")
            self._free -= size
            reservation.size = size

    def give_back(self, reservation: Reservation, *, close: bool = False) -> None:
        """Release a reservation's bytes; with `close` it takes none from then on."""
        with self._changed:
            self._free += reservation.size
            reservation.size = 0
            reservation.closed = reservation.closed or close
            self._changed.notify_all()


class Reservation:
    """The memory that the decoders of one stream hold, one after another. One thread holds and releases; any thread may close."""

    __slots__ = ("_memory", "closed", "size")

    def __init__(self, memory: DecoderMemory) -> None:
        self._memory = memory
        self.size = 0
        self.closed = False

    def hold(self, size: int) -> None:
        """Hold this many bytes, after a bounded wait if they are in use. Nothing may be held already.

        Raises Unavailable if they are not freed or the reservation is closed in the meantime, and Forbidden if there are never that many.
        """
        if size:
            self._memory.take(size, self)

    def release(self) -> None:
        """Give back what is held."""
        if self.size:
            self._memory.give_back(self)

    def close(self) -> None:
        """Give back what is held, and hold nothing from now on; a thread that waits for memory gets Unavailable."""
        self._memory.give_back(self, close=True)


class Inflation:
    """Counts what all streams of one operation inflate to, nested ones too, against what its client sent; usable from several threads.

    Each stream alone may be of a sane size, and inflate from bytes that were themselves inflated from almost nothing.
    """

    def __init__(self) -> None:
        self._sent = 0
        self._inflated = 0
        self._lock = Lock()

    def send(self, size: int) -> None:
        """Count bytes that the client sent."""
        with self._lock:
            self._sent += size

    def inflate(self, size: int) -> None:
        """Count bytes that a stream inflated to."""
        with self._lock:
            self._inflated += size

    def passes(self, max_ratio: int, max_bytes: int) -> bool:
        """Whether the inflated bytes are beyond both `max_ratio` times the bytes sent and `max_bytes`."""
        return self._inflated > max_bytes and self._inflated > max_ratio * self._sent


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a stream may cost. It is a bomb when it passes both `max_ratio` (uncompressed to compressed bytes) and `max_bytes`.

    If `operation` is given, all streams that it counts are refused together by the same rule.
    """

    max_ratio: int
    max_bytes: int
    memory: DecoderMemory
    operation: Inflation | None = None
