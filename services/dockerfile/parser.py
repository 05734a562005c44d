"""Split the text of a Dockerfile into its instructions, with nothing expanded yet.

    directive   := "#" ("syntax" | "escape" | "check") "=" value       before anything else
    comment     := "#" ...                                             also between continued lines
    instruction := name {"--" flag} ["--"] arguments {heredoc}
    arguments   := words | "[" JSON strings "]" | key "=" value ... | key value | instruction
    heredoc     := "<<" ["-"] NAME in the line, then lines up to one that is NAME

An escape character at the end of a line continues it. Among the instructions of an import only ONBUILD keeps here-documents, after ADD,
COPY and RUN.

Source: buildkit frontend/dockerfile/parser (parser.go, directives.go, line_parsers.go, split_command.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from stowage.services.dockerfile.words import SPACE, Expander
from stowage.services.errors import InvalidParameter
from stowage.services.oci.gojson import quote

_BLANK = "\t\n\f\r "
_DIRECTIVE = re.compile(rf"([a-zA-Z][a-zA-Z0-9]*)[{_BLANK}]*=[{_BLANK}]*(.+)\Z")
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
            self._set_escape(match[2].rstrip(_BLANK) or match[2])

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


_BLANKS = re.compile(r"[\t\v\f\r ]+")
_WORD = re.compile(rf"[^{SPACE}]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_NOT_STRINGS = "when using JSON array syntax, arrays must be comprised of strings only"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `line` is its text, continued lines joined; `arguments` alternate key and value for ENV and LABEL."""

    name: str
    line: str
    flags: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    is_json: bool = False
    trigger: Instruction | None = None
    heredocs: tuple[Heredoc, ...] = ()


class Syntax:
    """The syntax of lines with one escape character."""

    def __init__(self, escape: str) -> None:
        token = re.escape(escape)
        double = rf"\"(?:{token}.|[^\"{token}])*(?:\"|(?={token}\Z)|\Z)"
        plain = rf"[^'\"{token}{SPACE}]"
        self._word = re.compile(rf"(?:{token}.|{double}|'[^']*(?:'|\Z)|{plain})+", re.DOTALL)
        single = rf"'(?:{token}.|[^'{token}])*(?:'|(?={token}\Z)|\Z)"
        self._flag = re.compile(rf"[{SPACE}]*(--(?:{token}.|{double}|{single}|{plain})*)(?:{token}\Z)?", re.DOTALL)
        self._quoted = re.compile(rf"{token}(.)|\"((?:{token}.|[^\"{token}])*)\"?|'((?:{token}.|[^'{token}])*)'?", re.DOTALL)
        self._escaped = re.compile(rf"{token}(.)", re.DOTALL)

    def instruction(self, line: str) -> Instruction:
        """Read one line; raises InvalidParameter. An unknown instruction keeps no arguments."""
        parts = _BLANKS.split(line.strip(SPACE), maxsplit=1)
        flags, rest = self._split_flags(parts[1]) if len(parts) == 2 else ([], "")
        read = _ARGUMENTS.get(parts[0].lower())
        bare = Instruction(parts[0], line, tuple(flags))
        return read(self, bare, rest.strip(SPACE)) if read else bare

    def _split_flags(self, rest: str) -> tuple[list[str], str]:
        flags: list[str] = []
        position = 0
        while match := self._flag.match(rest, position):
            position = match.end()
            flag = self._quoted.sub(self._unquote, match[1])
            if flag == "--":
                break
            flags.append(flag)
        return flags, rest[position:]

    def _unquote(self, match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1]
        return self._escaped.sub(r"\1", match[2] if match[2] is not None else match[3])

    def _text(self, bare: Instruction, rest: str) -> Instruction:
        return replace(bare, arguments=(rest,) if rest else ())

    def _list(self, bare: Instruction, rest: str) -> Instruction:
        return replace(bare, arguments=tuple(_BLANKS.split(rest)) if rest else ())

    def _json_or_text(self, bare: Instruction, rest: str) -> Instruction:
        strings = _json_strings(rest)
        return self._text(bare, rest) if strings is None else replace(bare, arguments=strings, is_json=True)

    def _json_or_list(self, bare: Instruction, rest: str) -> Instruction:
        strings = _json_strings(rest)
        return self._list(bare, rest) if strings is None else replace(bare, arguments=strings, is_json=True)

    def _healthcheck(self, bare: Instruction, rest: str) -> Instruction:
        kind = _WORD.match(rest)
        if kind is None:
            return bare
        command = self._json_or_text(bare, rest[kind.end() :].lstrip(SPACE))
        return replace(command, arguments=(kind[0], *command.arguments))

    def _onbuild(self, bare: Instruction, rest: str) -> Instruction:
        if not rest:
            return bare
        if _BLANKS.split(rest, maxsplit=1)[0].lower() == "onbuild":
            return replace(bare, arguments=("onbuild",))
        trigger = self.instruction(rest)
        return replace(bare, arguments=(trigger.name, *trigger.arguments), trigger=trigger)

    def _pairs(self, bare: Instruction, rest: str) -> Instruction:
        words = self._word.findall(rest)
        if not words:
            return bare
        if "=" not in words[0]:
            return replace(bare, arguments=_old_pair(bare.name.upper(), rest))
        pairs: list[str] = []
        for word in words:
            key, equals, value = word.partition("=")
            if not equals:
                raise InvalidParameter(f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value")
            pairs += (key, value)
        return replace(bare, arguments=tuple(pairs))


_ARGUMENTS: dict[str, Callable[[Syntax, Instruction, str], Instruction]] = {
    "add": Syntax._json_or_list,
    "cmd": Syntax._json_or_text,
    "copy": Syntax._json_or_list,
    "entrypoint": Syntax._json_or_text,
    "env": Syntax._pairs,
    "expose": Syntax._list,
    "healthcheck": Syntax._healthcheck,
    "label": Syntax._pairs,
    "onbuild": Syntax._onbuild,
    "run": Syntax._json_or_text,
    "shell": Syntax._json_or_text,
    "stopsignal": Syntax._text,
    "user": Syntax._text,
    "volume": Syntax._json_or_list,
    "workdir": Syntax._text,
}


def _old_pair(name: str, rest: str) -> tuple[str, ...]:
    """`KEY the rest is the value`, the form of ENV and LABEL that is older than `=`."""
    parts = _BLANKS.split(rest, maxsplit=1)
    if len(parts) < 2:
        raise InvalidParameter(f"{name} must have two arguments")
    return tuple(parts)


def _json_strings(rest: str) -> tuple[str, ...] | None:
    """The strings of a JSON array, or None if the text is not an array; raises InvalidParameter if it holds anything but strings."""
    if not rest.startswith("["):
        return None
    try:
        items = json.loads(rest, parse_constant=_refuse_constant)
    except ValueError:
        return None
    except RecursionError:
        raise InvalidParameter(_NOT_STRINGS) from None
    if not all(isinstance(item, str) for item in items):
        raise InvalidParameter(_NOT_STRINGS)
    return tuple(_SURROGATES.sub("\ufffd", item) for item in items)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


_HEREDOC_WORD = re.compile(rf"(?:<<[\t\r ]*|\\.|\"(?:\\.|[^\"\\])*\"|'[^']*'|[^'\"\\{SPACE}])+", re.DOTALL)
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
    return tuple(_read_heredoc(name, indented, next_line) for name, indented in _marks(line))


def _marks(line: str) -> list[tuple[str, bool]]:
    if not _CLOSED.fullmatch(line):
        return []
    marks: list[tuple[str, bool]] = []
    for word in _HEREDOC_WORD.findall(line):
        mark = _MARK.fullmatch(word)
        names = Expander("\\").words(mark[2], {}) if mark else []
        if mark and len(names) == 1:
            marks.append((names[0], mark[1] == "-"))
    return marks


def _read_heredoc(name: str, indented: bool, next_line: Callable[[], str | None]) -> Heredoc:
    content: list[str] = []
    while (line := next_line()) is not None:
        bare = line.rstrip("\r\n")
        if (bare.lstrip("\t") if indented else bare) == name:
            return Heredoc(name, "".join(content))
        content.append(line + "\n")
    raise InvalidParameter("unterminated heredoc")
