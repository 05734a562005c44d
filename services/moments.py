"""Points in time that clients give, such as the values of `until` and `since`.

    moment := duration | date [ "T" hour [ ":" minute [ ":" second ] ] ] [ zone ] | seconds [ "." fraction ]

Source: moby daemon/internal/timestamp/timestamp.go; Go time.ParseDuration.
"""

from __future__ import annotations

import json
import re
import time

from stowage.services.errors import InvalidParameter
from stowage.services.gotime import RFC3339, parse_duration, parse_time

_SECOND = 1_000_000_000
_MAX_SECONDS = (1 << 63) - 1
_MAX_FRACTION_DIGITS = 20
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


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
