"""The `filters` parameter of lists, searches and prunes, and its values that have a grammar: globs, points in time and integers.

    filters := "" | { name : { value : bool } } | { name : [ value ] }
    glob    := { "*" | "?" | "[" [ "^" ] member { member } "]" | "\\" character | character }
    member  := character [ "-" character ]
    integer := [ "+" | "-" ] digit { digit }
    moment  := duration | date [ "T" hour [ ":" minute [ ":" second ] ] ] [ zone ] | seconds [ "." fraction ]

The second form of filters is the one that clients older than API 1.22 send.

Source: moby daemon/internal/filters/parse.go, daemon/internal/timestamp/timestamp.go; Go path.Match, time.ParseDuration,
strconv.Atoi.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from stowage.services.errors import InvalidParameter
from stowage.services.gotime import RFC3339, parse_duration, parse_time

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SECOND = 1_000_000_000
_MAX_SECONDS = (1 << 63) - 1
_MAX_FRACTION_DIGITS = 20
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_GLOB_MEMBER = r"(\\.|[^\\\]-])(?:-(\\.|[^\\\]-]))?"
_GLOB_RANGE = re.compile(_GLOB_MEMBER, re.DOTALL)
_GLOB_TOKEN = re.compile(rf"\[(?>\^?)(?:{_GLOB_MEMBER})+\]|\\.|[^\[\\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filters:
    """Names and their values, in the order they were sent. A value sent as false is listed, but does not count as true."""

    fields: Mapping[str, Mapping[str, bool]] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, text: str) -> Filters:
        """Read the JSON; the empty string is no filter. Raises InvalidParameter("invalid filter")."""
        if not text:
            return cls()
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
                return cls(members)
        raise InvalidParameter("invalid filter")

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


def compile_glob(pattern: str) -> re.Pattern[str] | None:
    """A shell glob as Go's path.Match reads it, for `fullmatch`; None if it is malformed.

    `*` and `?` stop at "/", `[a-z]` and `[^a-z]` do not. What follows a `*` is matched at the first place where it fits, without
    backtracking, as in Go. So the time stays linear.
    """
    chunks = [""]
    position = 0
    while position < len(pattern):
        if pattern[position] == "*":
            chunks.append("")
            position += 1
            continue
        match = _GLOB_TOKEN.match(pattern, position)
        if match is None:
            return None
        chunks[-1] += _glob_token(match[0])
        position = match.end()
    first, *rest = chunks
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in rest[:-1])
    last = f"[^/]*?{rest[-1]}" if rest else ""
    return re.compile(first + middle + last, re.DOTALL)


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


def parse_moment(text: str, now: int) -> int:
    """Read a filter's point in time, in nanoseconds since 1970; `now` likewise.

    It is tried as a Go duration, counted back from now, then as a date, with or without time and zone (default: the zone of this machine),
    then as Unix seconds with a fraction. Raises InvalidParameter in moby's words.
    """
    if not text.strip():
        raise InvalidParameter("failed to parse value as time or duration: value is empty")
    try:
        if text != "0":
            return now - parse_duration(text)
    except InvalidParameter:
        pass
    try:
        return parse_time(text, _moment_layout(text), offset=time.localtime(now // _SECOND).tm_gmtoff)[0]
    except InvalidParameter:
        if "-" in text:
            raise
    try:
        return parse_timestamp(text)
    except InvalidParameter as exc:
        raise InvalidParameter(f"failed to parse value as time or duration: {exc}") from exc


def _moment_layout(text: str) -> tuple[str, ...]:
    """The layout that moby tries, guessed from the punctuation of the value."""
    upper_z = "z" in text or "Z" in text
    zoned = upper_z or "+" in text or text.count("-") == 3
    colons = text.count(":") - (1 if zoned and not upper_z else 0)
    if "." in text or ("T" in text and colons > 1):
        length = 11
    elif "T" in text:
        length = 9 if colons == 1 else 7
    else:
        length = 5
    return RFC3339[:length] + (RFC3339[11:] if zoned else ())


def parse_timestamp(text: str) -> int:
    """Read Unix seconds with a fraction, in nanoseconds since 1970; raises InvalidParameter in moby's words."""
    whole, _, fraction = text.partition(".")
    problem = _unix_problem(whole, fraction)
    if problem:
        raise InvalidParameter(problem)
    return int(whole) * _SECOND + int(fraction[:9].ljust(9, "0"))


def _unix_problem(whole: str, fraction: str) -> str:
    if not _INTEGER.fullmatch(whole):
        return f"invalid seconds {json.dumps(whole, ensure_ascii=False)}: invalid syntax"
    if len(whole) > 20 or not -_MAX_SECONDS - 1 <= int(whole) <= _MAX_SECONDS:
        return f"invalid seconds {json.dumps(whole, ensure_ascii=False)}: value out of range"
    if len(fraction) > _MAX_FRACTION_DIGITS:
        return f"invalid nanoseconds: length {len(fraction.encode())} exceeds maximum {_MAX_FRACTION_DIGITS}"
    for position, character in enumerate(fraction):
        if character not in "0123456789":
            return f"invalid nanoseconds: invalid character '{character}' at position {position}"
    return ""


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
