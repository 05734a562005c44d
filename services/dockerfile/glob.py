"""Shell patterns of `${NAME#pattern}` and `${NAME/pattern/text}`: `*` is any text, `?` one character, `\\` takes `*?\\` literally.

A pattern is kept as the pieces between its stars and matched piece by piece, so each piece takes linear time at most.
Source: buildkit frontend/dockerfile/shell/lex.go (convertShellPatternToRegex).
"""

from __future__ import annotations

import re

from stowage.services.errors import InvalidParameter

_TOKEN = re.compile(r"\\(.?)|[^\\]", re.DOTALL)


class Glob:
    """A compiled pattern. Raises InvalidParameter on an escape of anything but `*`, `?`, `\\`, `/` and `}`."""

    def __init__(self, pattern: str, *, backwards: bool = False) -> None:
        tokens = [_token(match, pattern) for match in _TOKEN.finditer(pattern)]
        if backwards:
            tokens.reverse()
        pieces = [""]
        for token in tokens:
            if token == "*":
                pieces.append("")
            else:
                pieces[-1] += token
        self._first, *self._rest = (re.compile(piece, re.DOTALL) for piece in pieces)
        self._last = re.compile(".*" + pieces[-1], re.DOTALL)

    def prefix(self, text: str, *, longest: bool) -> int | None:
        """The length of the shortest or longest prefix that the pattern matches."""
        found = self._first.match(text)
        return self._end(text, found.end(), longest=longest) if found else None

    def search(self, text: str, start: int) -> tuple[int, int] | None:
        """Start and end of the leftmost longest match at or after `start`."""
        found = self._first.search(text, start)
        end = self._end(text, found.end(), longest=True) if found else None
        return (found.start(), end) if found and end is not None else None

    def _end(self, text: str, position: int, *, longest: bool) -> int | None:
        for index, piece in enumerate(self._rest, start=1):
            is_last = index == len(self._rest)
            found = self._last.match(text, position) if longest and is_last else piece.search(text, position)
            if found is None:
                return None
            position = found.end()
        return position


def _token(match: re.Match[str], pattern: str) -> str:
    text = match[0]
    if text in ("*", "\\*"):
        return "*" if text == "*" else r"\*"
    if text == "?":
        return "."
    if text.startswith("\\") and match[1] not in ("?", "\\", "/", "}"):
        escape = match[1] or "\ufffd"
        raise InvalidParameter(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escape}'")
    return re.escape(text[-1])
