"""Bodies of requests in chunks, within limits that no client comes near who means well.

What gunicorn does for each chunk, and for what follows the last one, is Python that other threads wait for. A client can cause a lot of it
with few bytes, and what has arrived is worked on after it has left.
"""

from __future__ import annotations

from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import InvalidChunkSize

_FREE_CHUNKS = 1 << 10
_CHUNK_BYTES = 256
"""The least average of further chunks. Clients send what they have read from a file or a pipe, or the blocks of a tar."""
_TRAILER_BYTES = 1 << 16
"""With every read gunicorn searches all of the trailers so far."""


class Chunks(ChunkedReader):
    """Reads a body in chunks. Raises InvalidChunkSize if they are too small, and LimitRequestHeaders for too many trailers."""

    def __init__(self, request: Any, unreader: object) -> None:
        super().__init__(request, unreader)
        self.limit_trailer_section = _TRAILER_BYTES
        self._allowed = _FREE_CHUNKS * _CHUNK_BYTES

    def parse_chunk_size(self, unreader: object, data: bytes | None = None) -> tuple[int, bytes]:
        """The size of the next chunk, and what has arrived of it."""
        size, rest = super().parse_chunk_size(unreader, data)
        self._allowed += min(size, 1 << 40) - _CHUNK_BYTES
        if self._allowed < 0:
            raise InvalidChunkSize(b"%d bytes, as too many before" % size)
        return size, rest
