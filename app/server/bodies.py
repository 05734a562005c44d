"""Bodies of requests in chunks, within limits that no client comes near who means well.

What gunicorn does for each chunk, and for what follows the last one, is Python that other threads wait for: about 6 microseconds a chunk. A
client can cause a lot of it with few bytes, and what has arrived is worked on after it has left.

Source: RFC 9112 section 7.1.
"""

from __future__ import annotations

from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import ParseException

from stowage.services.errors import InvalidContent

_FREE_CHUNKS = 1 << 10
_CHUNK_BYTES = 64
"""The least average of further chunks. Clients send what they have read from a file or a pipe. Go's gzip writes 240 bytes at a time."""
_TRAILER_BYTES = 1 << 16
"""With every read gunicorn searches all of the trailers so far."""


class TinyChunks(InvalidContent, ParseException):
    """The body has too many small chunks; an error of the body for gunicorn, and with its own words for the application."""


class Chunks(ChunkedReader):
    """Reads a body in chunks. Raises TinyChunks if they are too small, and gunicorn's LimitRequestHeaders for too many trailers."""

    def __init__(self, request: Any, unreader: object) -> None:
        super().__init__(request, unreader)
        self.limit_trailer_section = _TRAILER_BYTES
        self._allowed = _FREE_CHUNKS * _CHUNK_BYTES

    def parse_chunk_size(self, unreader: object, data: bytes | None = None) -> tuple[int, bytes]:
        """The size of the next chunk in bytes, and what has arrived of it."""
        size, rest = super().parse_chunk_size(unreader, data)
        self._allowed += size - _CHUNK_BYTES
        if self._allowed < 0:
            raise TinyChunks(f"the request's body comes in chunks of less than {_CHUNK_BYTES} bytes on average: send larger ones")
        return size, rest
