"""Split the text of a Dockerfile into its instructions: directives, comments and continued lines.

    directive := "#" ("syntax" | "escape" | "check") "=" value       before anything else
    comment   := "#" ...                                             also between continued lines

An escape character at the end of a line continues it. Source: buildkit frontend/dockerfile/parser (parser.go, directives.go).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from stowage.services.dockerfile.heredoc import read_heredocs
from stowage.services.dockerfile.spaces import SPACE
from stowage.services.dockerfile.syntax import Instruction, Syntax
from stowage.services.errors import InvalidParameter

_BLANKS = "\t\n\f\r "
_DIRECTIVE = re.compile(rf"([a-zA-Z][a-zA-Z0-9]*)[{_BLANKS}]*=[{_BLANKS}]*(.+)\Z")
_DIRECTIVES = ("syntax", "escape", "check")
_MAY_HOLD_HEREDOCS = ("add", "copy", "run")
_MAX_LINE = 64 * 1024 - 1


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The instructions of a text, and the escape character that it sets."""

    instructions: tuple[Instruction, ...]
    escape: str


def parse_dockerfile(text: str) -> Dockerfile:
    """Read a text; raises InvalidParameter when it is malformed or holds no instruction."""
    lines = _Lines(text.removeprefix("\ufeff"))
    directives = _Directives()
    instructions: list[Instruction] = []
    while (first := lines.next()) is not None:
        line = _joined(first, lines, directives)
        if line is not None:
            instruction = Syntax(directives.escape).instruction(line)
            instructions.append(_with_heredocs(instruction, lines))
    if not instructions:
        raise InvalidParameter("file with no instructions")
    if lines.too_long:
        raise InvalidParameter(f"dockerfile line greater than max allowed size of {_MAX_LINE}")
    return Dockerfile(tuple(instructions), directives.escape)


class _Lines:
    """The lines of a text without their line feed. A line of 64 KiB or more ends them, as it ends Go's bufio.Scanner."""

    def __init__(self, text: str) -> None:
        self._lines = text.removesuffix("\n").split("\n") if text else []
        self._index = 0
        self.too_long = False

    def next(self) -> str | None:
        if self.too_long or self._index == len(self._lines):
            return None
        line = self._lines[self._index]
        self._index += 1
        self.too_long = len(line.encode(errors="replace")) > _MAX_LINE
        return None if self.too_long else line


class _Directives:
    """The directives seen so far; the first line that is not a directive ends them."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._done = False
        self._set_escape("\\")

    def read(self, line: str) -> None:
        if self._done:
            return
        match = _DIRECTIVE.match(line[1:].lstrip(SPACE)) if line.startswith("#") else None
        name = match[1].lower() if match else ""
        if match is None or name not in _DIRECTIVES:
            self._done = True
            return
        if name in self._seen:
            raise InvalidParameter(f"only one {name} parser directive can be used")
        self._seen.add(name)
        if name == "escape":
            self._set_escape(match[2].rstrip(_BLANKS) or match[2])

    def _set_escape(self, value: str) -> None:
        if value not in ("`", "\\"):
            raise InvalidParameter(f"invalid escape token '{value}' does not match ` or \\")
        token = re.escape(value)
        self.escape = value
        self.continuation = re.compile(rf"(?<!{token}){token}[ \t]*\Z")


def _joined(first: str, lines: _Lines, directives: _Directives) -> str | None:
    """A line joined with those that continue it, or None for a comment or an empty line."""
    line = first.rstrip("\r").lstrip(SPACE)
    directives.read(line)
    if not line or line.startswith("#"):
        return None
    line, continues = _cut(line, directives)
    parts = [line]
    while continues and (following := lines.next()) is not None:
        following = following.rstrip("\r")
        directives.read(following)
        stripped = following.lstrip(SPACE)
        if stripped and not stripped.startswith("#"):
            following, continues = _cut(following, directives)
            parts.append(following)
    return "".join(parts)


def _cut(line: str, directives: _Directives) -> tuple[str, bool]:
    cut = directives.continuation.sub("", line)
    return cut, cut != line


def _with_heredocs(instruction: Instruction, lines: _Lines) -> Instruction:
    holder = instruction.trigger or instruction
    if holder.name.lower() not in _MAY_HOLD_HEREDOCS or holder.is_json or "<<" not in instruction.line:
        return instruction
    return replace(instruction, heredocs=read_heredocs(instruction.line, lines.next))
