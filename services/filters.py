"""The `filters` parameter of lists, searches and prunes, and its values that have a grammar: globs and integers.

    filters := "" | { name : { value : bool } } | { name : [ value ] }
    glob    := { "*" | "?" | "[" [ "^" ] member { member } "]" | "\\" character | character }
    member  := character [ "-" character ]
    integer := [ "+" | "-" ] digit { digit }

The second form of filters is the one that clients older than API 1.22 send.

Source: moby daemon/internal/filters/parse.go; Go path.Match, strconv.Atoi.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from stowage.services.errors import InvalidParameter

_MOST_TEXT = 64 << 10
"""Limit of characters in the filters of a request."""
_MOST_VALUES = 1000
"""Limit of values in the filters of a request: each is compared with every image."""
MOST_GLOB = 1024
"""Limit of characters in a glob; a name has less than 400."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_SECONDS = (1 << 63) - 1
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_GLOB_CHARACTERS = frozenset("*?[\\")
_GLOB_MEMBER = r"(\\.|[^\\\]-])(?:-(\\.|[^\\\]-]))?"
_GLOB_RANGE = re.compile(_GLOB_MEMBER, re.DOTALL)
GLOB_TOKEN = re.compile(rf"\[(?>\^?)(?:{_GLOB_MEMBER})+\]|\\.|[^\[\\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filters:
    """Names and their values, in the order they were sent. A value sent as false is listed, but does not count as true."""

    fields: Mapping[str, Mapping[str, bool]] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, text: str) -> Filters:
        """Read the JSON; the empty string is no filter. Raises InvalidParameter("invalid filter"), or a sentence if it is too long."""
        if not text:
            return cls()
        if len(text) > _MOST_TEXT:
            raise InvalidParameter(f"invalid filter: {len(text)} characters, more than {_MOST_TEXT}; use fewer filters at a time")
        try:
            document: object = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise InvalidParameter("invalid filter") from exc
        if document is None:
            return cls()
        if not isinstance(document, dict):
            raise InvalidParameter("invalid filter")
        for read_member in (_read_mapping, _read_array):
            members = _read_members(document, read_member)
            if members is not None:
                return cls(members)._bounded()
        raise InvalidParameter("invalid filter")

    def _bounded(self) -> Filters:
        count = sum(map(len, self.fields.values()))
        if count > _MOST_VALUES:
            raise InvalidParameter(f"invalid filter: {count} values, more than {_MOST_VALUES}; use fewer filters at a time")
        return self

    def validate(self, accepted: Collection[str]) -> None:
        """Raise InvalidParameter("invalid filter 'name'") for the first name that is not accepted."""
        for name in self.fields:
            if name not in accepted:
                raise InvalidParameter(f"invalid filter '{name}'")

    def __contains__(self, name: str) -> bool:
        """Whether this filter was sent, even without a value."""
        return name in self.fields

    def get(self, name: str) -> tuple[str, ...]:
        """The values of a filter, in the order they were sent."""
        return tuple(self.fields.get(name, ()))

    def adding(self, name: str, value: str) -> Filters:
        """These filters with one more value."""
        return Filters({**self.fields, name: {**self.fields.get(name, {}), value: True}})

    def without(self, name: str) -> Filters:
        """These filters without one name."""
        return Filters({other: values for other, values in self.fields.items() if other != name})

    def boolean(self, name: str, default: bool) -> bool:
        """The truth value of a filter, `default` if it was not sent; raises InvalidParameter if it says neither or both."""
        values = self.fields.get(name)
        if values is None:
            return default
        if not values:
            raise InvalidParameter(f"invalid filter '{name}'")
        is_true = values.get("1", False) or values.get("true", False)
        is_false = values.get("0", False) or values.get("false", False)
        if is_true == is_false:
            raise InvalidParameter(f"invalid filter '{name}=[{' '.join(values)}]'")
        return is_true


def parse_integer(text: str) -> int:
    """Read a 64-bit decimal integer; raises InvalidParameter in the words of Go's strconv.Atoi."""
    problem = "invalid syntax" if not _INTEGER.fullmatch(text) else "value out of range"
    if problem == "invalid syntax" or len(text) > 4300 or not -_MAX_SECONDS - 1 <= int(text) <= _MAX_SECONDS:
        raise InvalidParameter(f"strconv.Atoi: parsing {json.dumps(text, ensure_ascii=False)}: {problem}")
    return int(text)


def is_glob(pattern: str) -> bool:
    """Whether a pattern can match anything but itself."""
    return not _GLOB_CHARACTERS.isdisjoint(pattern)


def compile_glob(pattern: str) -> re.Pattern[str] | None:
    """A shell glob as Go's path.Match reads it, for `fullmatch`; None if it is malformed.

    `*` and `?` stop at "/", `[a-z]` and `[^a-z]` do not. What follows a `*` is matched at the first place where it fits, without
    backtracking, as in Go. So the time stays linear. Raises InvalidParameter for a glob that is longer than any that a name needs.
    """
    if len(pattern) > MOST_GLOB:
        raise InvalidParameter(f"invalid filter: a pattern of {len(pattern)} characters, more than {MOST_GLOB}")
    chunks = [""]
    position = 0
    while position < len(pattern):
        if pattern[position] == "*":
            chunks.append("")
            position += 1
            continue
        match = GLOB_TOKEN.match(pattern, position)
        if match is None:
            return None
        chunks[-1] += _glob_token(match[0])
        position = match.end()
    first, *rest = chunks
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in rest[:-1])
    last = f"[^/]*?{rest[-1]}" if rest else ""
    glob = re.compile(first + middle + last, re.DOTALL)
    re.purge()  # it would keep the last 512, whatever clients sent
    return glob


def _glob_token(token: str) -> str:
    if token == "?":
        return "[^/]"
    if token[0] == "\\":
        return re.escape(token[1])
    if token[0] != "[":
        return re.escape(token)
    negated = token[1] == "^"
    ranges = (_glob_range(match[1], match[2]) for match in _GLOB_RANGE.finditer(token, 2 if negated else 1, len(token) - 1))
    members = "".join(ranges)
    if not members:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{members}]"


def _glob_range(low: str, high: str | None) -> str:
    """One member of a class; a range that ends before it begins is empty."""
    first, last = low[-1], (high or low)[-1]
    return f"{re.escape(first)}-{re.escape(last)}" if first <= last else ""


def _read_members(
    document: Mapping[str, object], read_member: Callable[[object], dict[str, bool] | None]
) -> dict[str, dict[str, bool]] | None:
    """Read every member in one form; None if one does not have that form. A null is a filter without values."""
    members: dict[str, dict[str, bool]] = {}
    for name, member in document.items():
        values = {} if member is None else read_member(member)
        if values is None:
            return None
        members[_text(name)] = values
    return members


def _read_mapping(member: object) -> dict[str, bool] | None:
    if not isinstance(member, dict) or not all(value is None or isinstance(value, bool) for value in member.values()):
        return None
    return {_text(value): bool(truth) for value, truth in member.items()}


def _read_array(member: object) -> dict[str, bool] | None:
    if not isinstance(member, list) or not all(value is None or isinstance(value, str) for value in member):
        return None
    return {_text(value or ""): True for value in member}


def _text(text: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", text)
