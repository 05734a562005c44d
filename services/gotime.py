"""Durations and points in time as Go's `time` package reads and writes them, in integer nanoseconds.

    duration := [ sign ] ( "0" | part { part } )
    part     := digits [ "." digits ] unit
    unit     := "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h"

A layout is a tuple of Go's reference elements ("2006", "-", "01" ...). Seconds may have a fraction after "." or "," that is not in the
layout; digits beyond the ninth are dropped. An hour may have one digit. Years are 0000 to 9999; Python's date does not support year 0000.

Source: Go time (format.go, format_rfc3339.go).
"""

from __future__ import annotations

import json
import re
from datetime import date
from functools import cache

from stowage.services.errors import InvalidParameter

RFC3339 = ("2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", "Z07:00")

_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000,
    "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000,
}  # fmt: skip
_PART = re.compile(r"(\d*)(?:(\.)(\d*))?([^.\d]*)", re.ASCII)
_MAX = (1 << 63) - 1
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
