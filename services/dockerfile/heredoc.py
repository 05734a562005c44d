"""Here-documents: `<<NAME` or `<<-NAME` in a line, then lines up to one that is NAME.

Among the instructions of an import only ONBUILD keeps them, after ADD, COPY and RUN.
Source: buildkit frontend/dockerfile/parser/parser.go (heredocsFromLine, ParseHeredoc).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from stowage.services.dockerfile.spaces import SPACE
from stowage.services.dockerfile.words import Expander
from stowage.services.errors import InvalidParameter

_WORD = re.compile(rf"(?:<<[\t\r ]*|\\.|\"(?:\\.|[^\"\\])*\"|'[^']*'|[^'\"\\{SPACE}])+", re.DOTALL)
_CLOSED = re.compile(r"(?:\\(?:.|\Z)|\"(?:\\.|[^\"\\])*\"|'[^']*'|[^'\"\\])*+", re.DOTALL)
_MARK = re.compile(r"[0-9]*<<(-?)[\t\n\f\r ]*([^<\t\n\f\r ][^<]*|[\t\n\f\r ])")
"""The name begins after the blanks, or is the last of them. With one place to begin, text that is not a mark is skipped in linear time."""


@dataclass(frozen=True, slots=True)
class Heredoc:
    """One here-document: the word that ends it, and the lines before it with their line feeds."""

    name: str
    content: str


def read_heredocs(line: str, next_line: Callable[[], str | None]) -> tuple[Heredoc, ...]:
    """The here-documents that this line opens, read from the lines after it; raises InvalidParameter when one does not end."""
    return tuple(_read(name, indented, next_line) for name, indented in _marks(line))


def _marks(line: str) -> list[tuple[str, bool]]:
    if not _CLOSED.fullmatch(line):
        return []
    marks: list[tuple[str, bool]] = []
    for word in _WORD.findall(line):
        mark = _MARK.fullmatch(word)
        names = Expander("\\").words(mark[2], {}) if mark else []
        if mark and len(names) == 1:
            marks.append((names[0], mark[1] == "-"))
    return marks


def _read(name: str, indented: bool, next_line: Callable[[], str | None]) -> Heredoc:
    content: list[str] = []
    while (line := next_line()) is not None:
        bare = line.rstrip("\r\n")
        if (bare.lstrip("\t") if indented else bare) == name:
            return Heredoc(name, "".join(content))
        content.append(line + "\n")
    raise InvalidParameter("unterminated heredoc")
