"""Heads of requests, read as their bytes arrive, so that no thread waits for one.

gunicorn's parser blocks until a head is complete, so it is not called before. What it refuses earlier (an invalid request line, a bare
LF, too much of anything) is passed to it earlier, and is refused at once and in its words.
"""

from __future__ import annotations

import re
from typing import Any, cast

from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.message import Request
from gunicorn.http.unreader import SocketUnreader, Unreader

_END = re.compile(rb"\r\n\r\n|(?<!\r)\n")
_NOBODY = ("", 0)
_OTHER_LINES = 3
"""The line of the request, an empty one that may be before it, and the last one."""


class Head:
    """The bytes of a head so far, and any that follow it."""

    def __init__(self, cfg: Any) -> None:
        self.content = bytearray()
        self._cfg = cfg
        self._fields = 0  # where they begin, as soon as the request line has ended
        self._lines = 0  # that have ended

    def feed(self, content: bytes) -> bool:
        """Add bytes, and return whether gunicorn can parse or refuse the head without more."""
        seen = len(self.content)
        self.content += content
        end = _END.search(self.content, max(0, seen - 3))
        self._lines += self.content.count(b"\r\n", max(0, seen - 1), end.end() if end else len(self.content))
        if self._lines > self._cfg.limit_request_fields + _OTHER_LINES:
            self._keep_lines(self._cfg.limit_request_fields + 1)
            return True
        if end:
            return True
        if self._fields:
            most: int = self._cfg.limit_request_fields * (self._cfg.limit_request_field_size + 2) + 4
            return len(self.content) - self._fields > most
        blank = 2 if self.content.startswith(b"\r\n") else 0
        self._fields = self.content.find(b"\r\n", max(blank, seen - 1)) + 1
        return self._is_refused() if self._fields else len(self.content) - blank > int(self._cfg.limit_request_line) + 2

    def _keep_lines(self, most: int) -> None:
        """Keep only the beginning: gunicorn splits all lines of a head before it counts them."""
        end = 0
        for _ in range(most):
            end = self.content.find(b"\r\n", end) + 2
        del self.content[end - 2 :]

    def _is_refused(self) -> bool:
        """Whether the request line, which has just arrived, is invalid."""
        try:
            Request(self._cfg, _PartialUnreader(bytes(self.content)), _NOBODY)
        except _Incomplete:
            return False
        except Exception:  # noqa: BLE001 - a thread will answer it
            return True
        return True


class HeadUnreader(SocketUnreader):
    """Reads a client's socket, but never for a head, which has arrived already: a parser that asks for more of it has exceeded a limit.

    It would otherwise wait for the client before it checks the size, in a thread and without a time limit.
    """

    in_head = True

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.in_head:
            raise LimitRequestHeaders("max buffer headers")
        return cast("bytes", super().chunk(size_hint))


class _Incomplete(Exception):
    """The parser asks for more than has arrived."""


class _PartialUnreader(Unreader):
    """A source that has these bytes and will have more."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.unread(content)

    def chunk(self, size_hint: int | None = None) -> bytes:
        raise _Incomplete
