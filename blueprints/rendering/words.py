"""Sizes, numbers and times in words, as Docker's CLI writes them.

Source: docker/go-units size.go (HumanSizeWithPrecision, 3 digits) and duration.go (HumanDuration).
"""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_SHELL = "/bin/sh -c "
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WEEK, _MONTH, _YEAR = 7 * _DAY, 30 * _DAY, 365 * _DAY
_FIRST, _LAST = -62135596800, 253402300799
"""The seconds that Python has dates for."""


def size(count: float) -> str:
    """Bytes in decimal units, with three digits: 1.23MB."""
    value, unit = float(count), 0
    while abs(value) >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{_UNITS[unit]}" if abs(value) < 999.5 else f"{value:.0f}{_UNITS[unit]}"


def number(count: int) -> str:
    """With separators of thousands."""
    return f"{count:,}"


def percent(part: float, whole: float) -> str:
    """A part of a whole; 0% if there is nothing."""
    share = 100 * part / whole if whole else 0
    return "<1%" if 0 < share < 1 else f"{share:.0f}%"


def age(seconds: float, now: float) -> str:
    """How long ago a time in seconds since 1970 is."""
    return f"{duration(now - seconds)} ago"


def when(seconds: float) -> str:
    """A time in seconds since 1970 as ISO 8601, or nothing for a year beyond calendars."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if _FIRST <= seconds <= _LAST else ""


def short_digest(digest: object) -> str:
    """The first twelve characters after the algorithm."""
    return str(digest).partition(":")[2][:12]


def instruction(created_by: str) -> str:
    """A step of a history as the line of a Dockerfile that made it, if it says so."""
    text = created_by.strip()
    if text.startswith("/bin/sh -c #(nop)"):
        return text.removeprefix("/bin/sh -c #(nop)").strip()
    text = text.removesuffix("# buildkit").strip()
    command = text.removeprefix("RUN ")
    return f"RUN {command.removeprefix(_SHELL).strip()}" if command.startswith(_SHELL) else text


_RIGHTS = ((0o4000, "s", "S"), (0o2000, "s", "S"), (0o1000, "t", "T"))


def mode(bits: int) -> str:
    """The mode of a file as `ls` writes it, without the kind: rwxr-xr-x."""
    letters = ["rwx"[number % 3] if bits >> (8 - number) & 1 else "-" for number in range(9)]
    for number, (special, both, alone) in enumerate(_RIGHTS):
        if bits & special:
            letters[3 * number + 2] = both if letters[3 * number + 2] == "x" else alone
    return "".join(letters)


def growth(before: int, after: int) -> str:
    """By how much something grew, with a sign."""
    return "±0" if after == before else ("+" if after > before else "\N{MINUS SIGN}") + size(abs(after - before))


def duration(seconds: float) -> str:
    """Roughly how long that is: 34 seconds, 5 minutes."""
    if seconds < 1:
        return "less than a second"
    if seconds < _MINUTE:
        return "1 second" if int(seconds) == 1 else f"{int(seconds)} seconds"
    minutes, hours = int(seconds // _MINUTE), int(seconds / _HOUR + 0.5)
    if minutes < 60:
        return "about a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "about an hour" if hours == 1 else f"{hours} hours"
    for unit, length, most in (("days", _DAY, 2 * _WEEK), ("weeks", _WEEK, 2 * _MONTH), ("months", _MONTH, 2 * _YEAR)):
        if hours * _HOUR < most:
            return f"{hours * _HOUR // length} {unit}"
    return f"{int(seconds // _YEAR)} years"
