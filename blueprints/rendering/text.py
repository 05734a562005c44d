"""Values as HTML: untrusted text, bounded and escaped; sizes, numbers and times in words.

An image's author chooses its text, which may be long, and contain control characters, marks of direction and, from JSON, halves of
surrogate pairs, which UTF-8 cannot encode. So it is bounded and isolated from its surroundings (`<bdi>`), and such characters are shown as
escapes.

Sizes and times are as Docker's CLI writes them. Source: docker/go-units size.go (HumanSizeWithPrecision, 3 digits) and duration.go
(HumanDuration).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from markupsafe import Markup, escape

LIMIT = 300
"""Characters of a text that are shown unless a template asks for more."""
_KINDS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of characters that are invisible, or change how others are shown."""
_SUSPECT, _SUSPECT_PART = re.compile(r"[^\x20-\x7e]"), re.compile(r"([^\x20-\x7e])")
_BREAKS = re.compile(r"(?<=/)|(?=[:@])")

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_SHELL = "/bin/sh -c "
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WEEK, _MONTH, _YEAR = 7 * _DAY, 30 * _DAY, 365 * _DAY
_FIRST, _LAST = -62135596800, 253402300799
"""The seconds that Python has dates for."""
_RIGHTS = ((0o4000, "s", "S"), (0o2000, "s", "S"), (0o1000, "t", "T"))


def plain(value: object, limit: int = LIMIT) -> str:
    """The text in one line, bounded, with escapes such as \\u202e, for attributes."""
    whole = str(value)
    shown = _SUSPECT.sub(lambda match: _escape(match[0]), whole[:limit])
    return shown + "…" if len(whole) > limit else shown


def shown(value: object, limit: int = LIMIT) -> Markup:
    """The text as HTML: isolated, bounded, with escapes; if it was cut, with its length."""
    return Markup("<bdi>{}</bdi>{}").format(_marked(str(value)[:limit]), _rest(str(value), limit))


def named(value: object, limit: int = LIMIT) -> Markup:
    """The same for the name of an image, which lines break at its slashes and colons."""
    parts = map(_marked, _BREAKS.split(str(value)[:limit]))
    return Markup('<bdi class="name">{}</bdi>{}').format(Markup("<wbr>").join(parts), _rest(str(value), limit))


def _rest(whole: str, limit: int) -> Markup:
    return Markup('<span class="cut">… {} characters</span>').format(f"{len(whole):,}") if len(whole) > limit else Markup()


def _marked(text: str) -> Markup:
    return Markup().join(map(_mark, _SUSPECT_PART.split(text)))


def _mark(part: str) -> Markup:
    if len(part) == 1 and (escaped := _escape(part)) != part:
        return Markup('<span class="escape">{}</span>').format(escaped)
    return escape(part)


def _escape(character: str) -> str:
    if unicodedata.category(character) not in _KINDS:
        return character
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    code = ord(character)
    return named.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}")


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


def query_text(parameters: Mapping[str, str]) -> str:
    """The beginning of a query, to which other parameters are appended."""
    return urlencode(parameters) + "&" if parameters else ""
