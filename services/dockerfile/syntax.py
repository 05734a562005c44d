"""Parse one line into one instruction: its name, flags and arguments, with nothing expanded yet.

    instruction := name {"--" flag} ["--"] arguments
    arguments   := words | "[" JSON strings "]" | key "=" value ... | key value | instruction

Source: buildkit frontend/dockerfile/parser (line_parsers.go, split_command.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from stowage.services.dockerfile.heredoc import Heredoc
from stowage.services.dockerfile.spaces import SPACE
from stowage.services.errors import InvalidParameter
from stowage.services.oci.gojson import quote

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
        read = _READERS.get(parts[0].lower())
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


_READERS: dict[str, Callable[[Syntax, Instruction, str], Instruction]] = {
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
