"""Points in time and durations as Go's `time` package, Go's JSON and Docker's clients write them.

    time     := RFC 3339 with up to nine digits of a second and an offset
    duration := [ sign ] ( "0" | part { part } )
    part     := digits [ "." digits ] unit
    unit     := "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h"
    moment   := duration | date [ "T" hour [ ":" minute [ ":" second ] ] ] [ zone ] | seconds [ "." fraction ]

All are integer nanoseconds, since Python's datetime stops at microseconds. Years are 0000 to 9999, as in Go; Python's date does not support
year 0000. A layout is a tuple of Go's reference elements ("2006", "-", "01" ...). Seconds may have a fraction after "." or "," that is not
in the layout; digits beyond the ninth are dropped. An hour may have one digit.

Source: RFC 3339; Go time (format.go, format_rfc3339.go); moby daemon/internal/timestamp/timestamp.go.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from datetime import date
from functools import cache

from stowage.services.errors import InvalidContent, InvalidParameter

RFC3339 = ("2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", "Z07:00")

_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000,
    "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000,
}  # fmt: skip
_PART = re.compile(r"(\d*)(?:(\.)(\d*))?([^.\d]*)", re.ASCII)
_MAX = (1 << 63) - 1
_MAX_FRACTION_DIGITS = 20
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_FRACTION_SCALE = 1_000_000_000_000_000_000
_SECOND = 1_000_000_000
_DAY = 86_400
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097

_ELEMENTS = {
    "2006": re.compile(r"\d{4}", re.ASCII),
    "01": re.compile(r"\d\d", re.ASCII),
    "02": re.compile(r"\d\d", re.ASCII),
    "15": re.compile(r"\d\d?", re.ASCII),
    "04": re.compile(r"\d\d", re.ASCII),
    "05": re.compile(r"(\d\d)(?:[.,](\d+))?", re.ASCII),
    "Z07:00": re.compile(r"Z|[+-]\d\d:\d\d", re.ASCII),
}
_RANGES = {"01": ("month", 1, 12), "15": ("hour", 0, 23), "04": ("minute", 0, 59)}


@dataclass(frozen=True, slots=True)
class Timestamp:
    """`nanoseconds` since 1970-01-01T00:00:00Z (negative before), seen at `offset` minutes east of UTC."""

    nanoseconds: int
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> Timestamp:
        """Read RFC 3339; raises InvalidContent as Go's json.Unmarshal of a time.Time would refuse."""
        try:
            nanoseconds, offset = parse_time(text)
        except InvalidParameter as exc:
            raise InvalidContent(str(exc)) from exc
        return cls(nanoseconds, offset // 60)

    @property
    def unix(self) -> int:
        """Whole seconds, rounded down, as Go's Time.Unix."""
        return self.nanoseconds // 1_000_000_000

    def __str__(self) -> str:
        return format_time(self.nanoseconds, self.offset * 60)


ZERO = Timestamp(-62135596800 * 1_000_000_000)
"""Go's zero time, 0001-01-01T00:00:00Z."""


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
        return f"invalid seconds {_quote(whole)}: invalid syntax"
    if len(whole) > 20 or not -_MAX - 1 <= int(whole) <= _MAX:
        return f"invalid seconds {_quote(whole)}: value out of range"
    if len(fraction) > _MAX_FRACTION_DIGITS:
        return f"invalid nanoseconds: length {len(fraction.encode())} exceeds maximum {_MAX_FRACTION_DIGITS}"
    for position, character in enumerate(fraction):
        if character not in "0123456789":
            return f"invalid nanoseconds: invalid character '{character}' at position {position}"
    return ""


def parse_duration(text: str) -> int:
    """Read a Go duration such as `1h30m` or `-1.5s`, in nanoseconds; raises InvalidParameter in Go's words."""
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return 0
    total, position = 0, 0
    while position < len(unsigned):
        match = _PART.match(unsigned, position)
        if match is None or not (match[1] or match[3]):
            raise InvalidParameter(f"time: invalid duration {_quote(text)}")
        total += _part_nanoseconds(match, text)
        position = match.end()
    if not unsigned or total > _MAX + (text[0] == "-"):
        raise InvalidParameter(f"time: invalid duration {_quote(text)}")
    return -total if text[0] == "-" else total


def _part_nanoseconds(match: re.Match[str], text: str) -> int:
    whole, fraction, unit = match[1], match[3] or "", match[4]
    if not unit:
        raise InvalidParameter(f"time: missing unit in duration {_quote(text)}")
    if unit not in _UNITS:
        raise InvalidParameter(f"time: unknown unit {_quote(unit)} in duration {_quote(text)}")
    if len(whole) > 40:
        raise InvalidParameter(f"time: invalid duration {_quote(text)}")
    return int(whole or "0") * _UNITS[unit] + int(fraction[:18].ljust(18, "0")) * _UNITS[unit] // _FRACTION_SCALE


def parse_time(text: str, layout: tuple[str, ...] = RFC3339, *, offset: int = 0) -> tuple[int, int]:
    """Read a point in time: nanoseconds since 1970 and the offset in seconds east of UTC.

    `offset` applies if the layout has no zone. Raises InvalidParameter in Go's words.
    """
    fields: dict[str, int] = {"01": 1, "02": 1, "15": 0, "04": 0, "05": 0}
    rest, nanoseconds = text, 0
    for element in layout:
        match = _pattern(element).match(rest)
        if match is None:
            tried = f"parsing time {_quote(text)} as {_quote(''.join(layout))}"
            raise InvalidParameter(f"{tried}: cannot parse {_quote(rest)} as {_quote(element)}")
        if element == "05":
            nanoseconds = int((match[2] or "")[:9].ljust(9, "0"))
            fields[element] = int(match[1])
        elif element == "Z07:00":
            offset = _zone_offset(match[0], text)
        elif element in _ELEMENTS:
            fields[element] = int(match[0])
        rest = rest[match.end() :]
        _check_range(element, fields, text)
    if rest:
        raise InvalidParameter(f"parsing time {_quote(text)}: extra text: {_quote(rest)}")
    days = _day_number(fields["2006"], fields["01"], fields["02"], text)
    seconds = days * _DAY + fields["15"] * 3600 + fields["04"] * 60 + fields["05"] - offset
    return seconds * _SECOND + nanoseconds, offset


def format_time(nanoseconds: int, offset: int) -> str:
    """This instant as RFC3339Nano, at `offset` seconds east of UTC: trailing zeros dropped, `Z` if the offset is zero."""
    seconds, fraction = divmod(nanoseconds, _SECOND)
    days, second = divmod(seconds + offset, _DAY)
    ordinal = days + _EPOCH_DAY
    day = date.fromordinal(ordinal if ordinal > 0 else ordinal + _CYCLE_DAYS)
    year = day.year if ordinal > 0 else day.year - _CYCLE_YEARS
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    decimals = f".{fraction:09}".rstrip("0") if fraction else ""
    return f"{year:04}-{day.month:02}-{day.day:02}T{clock}{decimals}{_format_zone(offset)}"


@cache
def _pattern(element: str) -> re.Pattern[str]:
    return _ELEMENTS.get(element) or re.compile(re.escape(element))


def _check_range(element: str, fields: dict[str, int], text: str) -> None:
    name, low, high = ("second", 0, 59) if element == "05" else _RANGES.get(element, ("", 0, 0))
    if name and not low <= fields[element] <= high:
        raise InvalidParameter(f"parsing time {_quote(text)}: {name} out of range")


def _zone_offset(zone: str, text: str) -> int:
    if zone == "Z":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 24 or minutes > 60:
        raise InvalidParameter(f"parsing time {_quote(text)}: time zone offset {'hour' if hours > 24 else 'minute'} out of range")
    seconds = hours * 3600 + minutes * 60
    return -seconds if zone[0] == "-" else seconds


def _format_zone(offset: int) -> str:
    minutes = abs(offset) // 60
    return f"{'-' if offset < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}" if offset else "Z"


def _day_number(year: int, month: int, day: int, text: str) -> int:
    """Days since 1970-01-01."""
    shifted = year < _CYCLE_YEARS
    try:
        ordinal = date(year + _CYCLE_YEARS if shifted else year, month, day).toordinal()
    except ValueError as exc:
        raise InvalidParameter(f"parsing time {_quote(text)}: day out of range") from exc
    return ordinal - _EPOCH_DAY - (_CYCLE_DAYS if shifted else 0)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
