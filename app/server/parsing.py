"""Input of gunicorn's parser: complete heads, and bodies whose chunks are not too many.

The parser blocks until a head is complete, so it is called only then. A head that it refuses before its end (a line that is no request, a
bare LF, too many bytes) is passed to it at once, so that the refusal has its words.
"""

from __future__ import annotations

import re
from typing import Any, cast

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import LimitRequestHeaders, ParseException
from gunicorn.http.unreader import SocketUnreader

from stowage.services.errors import InvalidContent

_END = re.compile(rb"\r\n\r\n|(?<!\r)\n")
_REQUEST_LINE = re.compile(rb"(?:\r\n)?[^ \r]+ [^ \r]+ HTTP/1\.[0-9]\r\n")
_OTHER_LINES = 3
"""The line of the request, an empty one that may be before it, and the last one."""
_FREE_CHUNKS = 1 << 10
_CHUNK_BYTES = 64
"""The least average of further chunks. Clients send what they have read from a file or a pipe. Go's gzip writes 240 bytes at a time."""
_TRAILER_BYTES = 1 << 16
"""With every read gunicorn searches all of the trailers so far."""


class Head:
    """The bytes of a head so far, and any that follow it."""

    def __init__(self, cfg: Any) -> None:
        self.content = bytearray()
        self._most_lines: int = cfg.limit_request_fields + _OTHER_LINES
        self._most_line_bytes: int = cfg.limit_request_line + 2
        self._most_field_bytes: int = cfg.limit_request_fields * (cfg.limit_request_field_size + 2) + 4
        self._fields = 0  # where they begin, as soon as the request line has ended
        self._lines = 0  # that have ended

    def feed(self, content: bytes) -> bool:
        """Add bytes, and return whether gunicorn can parse or refuse the head without more."""
        seen = len(self.content)
        self.content += content
        end = _END.search(self.content, max(0, seen - 3))
        self._lines += self.content.count(b"\r\n", max(0, seen - 1), end.end() if end else len(self.content))
        if self._lines > self._most_lines:
            self._keep_lines(self._most_lines - 2)
            return True
        if end:
            return True
        if self._fields:
            return len(self.content) - self._fields > self._most_field_bytes
        blank = 2 if self.content.startswith(b"\r\n") else 0
        self._fields = self.content.find(b"\r\n", max(blank, seen - 1)) + 1
        return not _REQUEST_LINE.match(self.content) if self._fields else len(self.content) - blank > self._most_line_bytes

    def _keep_lines(self, most: int) -> None:
        """Keep only the beginning: gunicorn makes a string of each line before it counts them."""
        self.content = bytearray(b"\r\n".join(self.content.split(b"\r\n", most)[:most]))


class HeadUnreader(SocketUnreader):
    """Reads a client's socket, but never for a head, which has arrived already: a parser that asks for more of it has exceeded a limit.

    It would otherwise wait for the client before it checks the size, in a thread and without a time limit.
    """

    in_head = True

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.in_head:
            raise LimitRequestHeaders("max buffer headers")
        return cast("bytes", super().chunk(size_hint))


class TinyChunks(InvalidContent, ParseException):
    """The body has too many small chunks; an error of the body for gunicorn, and with its own words for the application."""


class Chunks(ChunkedReader):
    """Reads a body in chunks. Raises TinyChunks if they are too small, and gunicorn's LimitRequestHeaders for too many trailers.

    What gunicorn does for each chunk, and for what follows the last one, is Python that other threads wait for: about 6 microseconds a
    chunk. A client can cause a lot of it with few bytes, and what has arrived is worked on after it has left (RFC 9112 section 7.1).
    """

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
