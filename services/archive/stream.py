"""A compressed or plain byte stream as a blocking `read(n)` of its uncompressed bytes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Protocol

from stowage.services.archive.bounds import Bounds, Costs
from stowage.services.archive.compression import Compression
from stowage.services.archive.layer import Decompressor
from stowage.services.archive.tar_reader import CHUNK

_HEAD_BYTES = 10


class Readable(Protocol):
    """A stream such as a request body: `read(n)` blocks for 1 to n bytes, and returns none only at the end."""

    def read(self, size: int, /) -> bytes: ...


class Counted:
    """A source whose bytes are counted as what the client of an operation sent."""

    def __init__(self, source: Readable, costs: Costs) -> None:
        self._source = source
        self._costs = costs

    def read(self, size: int, /) -> bytes:
        chunk = self._source.read(size)
        self._costs.send(len(chunk))
        return chunk


@contextmanager
def uncompressed(source: Readable, bounds: Bounds) -> Iterator[Callable[[int], bytes]]:
    """Detect the compression from the first bytes; yields a `read(n)` that raises as `decompress` does."""
    head = b""
    while len(head) < _HEAD_BYTES and (more := source.read(_HEAD_BYTES - len(head))):
        head += more
    compression = Compression.detect(head)
    if compression is Compression.NONE:
        yield _read_after(head, source)
        return
    with closing(decompress(_chunks_after(head, source), compression, bounds)) as chunks:
        yield read_from(chunks)


def decompress(chunks: Iterable[bytes], compression: Compression, bounds: Bounds) -> Generator[bytes, None, None]:
    """The complete uncompressed stream of stored chunks, closed by the caller.

    Raises InvalidContent on damage or a bomb, and what `Reservation.hold` raises.
    """
    with closing(Decompressor(compression, bounds)) as decompressor:
        for chunk in chunks:
            yield from decompressor.decompress(chunk)
        decompressor.finish()


class Chunks:
    """Chunks as a stream that can be read, or skipped without a copy."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._current = memoryview(b"")

    def read(self, size: int) -> bytes:
        """1 to `size` bytes, and none only at the end."""
        return bytes(self._take(size))

    def skip(self, size: int) -> int:
        """Skip 1 to `size` bytes, and none only at the end; returns how many."""
        return len(self._take(size))

    def _take(self, size: int) -> memoryview:
        while not self._current and (chunk := next(self._chunks, None)) is not None:
            self._current = memoryview(chunk)
        piece, self._current = self._current[:size], self._current[size:]
        return piece


def read_from(chunks: Iterator[bytes]) -> Callable[[int], bytes]:
    """The chunks as a `read(n)` that returns 1 to n bytes, and none only at the end."""
    return Chunks(chunks).read


def _read_after(head: bytes, source: Readable) -> Callable[[int], bytes]:
    rest = head

    def read(size: int) -> bytes:
        nonlocal rest
        if not rest:
            return source.read(size)
        piece, rest = rest[:size], rest[size:]
        return piece

    return read


def _chunks_after(head: bytes, source: Readable) -> Iterator[bytes]:
    chunk = head
    while chunk:
        yield chunk
        chunk = source.read(CHUNK)
