"""Output of commands: lines, and on a terminal a progress line that is redrawn.

Messages of registries and names of files may contain control characters, so every message is made one printable line.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType
from typing import Self

from stowage.app.logs import one_line
from stowage.services.progress import human_size

_REDRAW_SECONDS = 0.1
_CLEAR = "\r\x1b[K"


class ProgressLine:
    """A line on standard error, redrawn at most ten times a second and removed at the end. Used as a context manager, by one thread."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._due = 0.0
        self._is_drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._clear()

    def show(self, text: str) -> None:
        """Replace the line, unless it has just been replaced; a text that is too long is cut."""
        now = time.monotonic()
        if not self._is_shown or now < self._due:
            return
        self._due = now + _REDRAW_SECONDS
        columns = shutil.get_terminal_size().columns
        sys.stderr.write(_CLEAR + one_line(text)[: max(0, columns - 1)])
        sys.stderr.flush()
        self._is_drawn = True

    def print(self, text: str) -> None:
        """Print a line to standard output that stays."""
        self._clear()
        say(text)

    def complain(self, text: str) -> None:
        """Print a line to standard error that stays."""
        self._clear()
        complain(text)

    def _clear(self) -> None:
        if self._is_drawn:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._is_drawn, self._due = False, 0.0


def say(text: str) -> None:
    """Print a line to standard output."""
    print(one_line(text), flush=True)


def complain(text: object) -> None:
    """Print a sentence to standard error."""
    print(f"stowage: {one_line(str(text))}", file=sys.stderr, flush=True)


def shown_size(size: int) -> str:
    """A number of bytes as Docker shows it: `12.3MB`."""
    return human_size(size)


def shown_share(done: int, total: int) -> str:
    """How much of a number of bytes is done: `12.3MB of 45.6MB`."""
    return f"{shown_size(done)} of {shown_size(total)}"
