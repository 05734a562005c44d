"""Shell patterns of `${NAME#pattern}` and `${NAME/pattern/text}`: `*` is any text, `?` one character, `\\` takes `*?\\` literally.

A pattern is kept as the pieces between its stars and matched piece by piece, so each piece takes linear time at most.
No regular expression is made of it: compiling one takes far longer, and `re` would keep it.
Source: buildkit frontend/dockerfile/shell/lex.go (convertShellPatternToRegex).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from stowage.services.errors import InvalidParameter

_TOKEN = re.compile(r"\\(.?)|[^\\]", re.DOTALL)
_STAR = "*"
_ANY = "?"


class Glob:
    """A parsed pattern. Raises InvalidParameter on an escape of anything but `*`, `?`, `\\`, `/` and `}`."""

    def __init__(self, pattern: str, *, backwards: bool = False) -> None:
        tokens = [_token(match, pattern) for match in _TOKEN.finditer(pattern)]
        if backwards:
            tokens.reverse()
        self._first, *self._rest = map(_Piece, _split(tokens))

    def prefix(self, text: str, *, longest: bool) -> int | None:
        """The length of the shortest or longest prefix that the pattern matches."""
        return self._end(text, self._first.length, longest=longest) if self._first.matches(text, 0) else None

    def search(self, text: str, start: int) -> tuple[int, int] | None:
        """Start and end of the leftmost longest match at or after `start`."""
        found = self._first.find(text, start)
        if found < 0:
            return None
        end = self._end(text, found + self._first.length, longest=True)
        return None if end is None else (found, end)

    def _end(self, text: str, position: int, *, longest: bool) -> int | None:
        for index, piece in enumerate(self._rest, start=1):
            is_last = index == len(self._rest)
            found = piece.find_last(text, position) if longest and is_last else piece.find(text, position)
            if found < 0:
                return None
            position = found + piece.length
        return position


class _Piece:
    """Tokens without a star: literal runs between question marks, of which the longest is looked for first."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.length = len(tokens)
        self._tokens = tokens
        self._runs: list[tuple[int, str]] = []
        position = 0
        for is_any, run in groupby(tokens, _ANY.__eq__):
            literal = "".join(token[-1] for token in run)
            if not is_any:
                self._runs.append((position, literal))
            position += len(literal)
        self._offset, self._longest = max(self._runs, key=lambda run: len(run[1]), default=(0, ""))

    def matches(self, text: str, position: int) -> bool:
        """Whether the piece matches here."""
        return position + self.length <= len(text) and all(text.startswith(run, position + offset) for offset, run in self._runs)

    def find(self, text: str, start: int) -> int:
        """The first position from `start` at which the piece matches, or -1."""
        found = start + self._offset - 1
        while (found := text.find(self._longest, found + 1)) >= 0 and found - self._offset + self.length <= len(text):
            if self.matches(text, found - self._offset):
                return found - self._offset
        return -1

    def find_last(self, text: str, start: int) -> int:
        """The last such position. `str.rfind` may take quadratic time; `str.find` does not."""
        found = _Piece(self._tokens[::-1]).find(text[start:][::-1], 0)
        return -1 if found < 0 else len(text) - found - self.length


def _split(tokens: Sequence[str]) -> list[list[str]]:
    """The tokens between the stars; one list more than there are stars."""
    pieces: list[list[str]] = [[]]
    for token in tokens:
        if token == _STAR:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def _token(match: re.Match[str], pattern: str) -> str:
    """`*`, `?`, or a literal character after a backslash."""
    text = match[0]
    if text in (_STAR, _ANY):
        return text
    if text.startswith("\\") and match[1] not in ("*", "?", "\\", "/", "}"):
        escape = match[1] or "\ufffd"
        raise InvalidParameter(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escape}'")
    return "\\" + text[-1]
