"""Text that anyone may have written, such as labels and names, as HTML that shows it and nothing else.

Whoever made an image chose the text: its length, characters that change the direction of what follows, control characters, and, from JSON,
halves of surrogate pairs, which UTF-8 cannot encode. It is bounded, isolated from its surroundings (`<bdi>`), and such characters are shown
as escapes.
"""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

LIMIT = 300
"""Characters of a text that are shown unless a template asks for more."""
_KINDS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of characters that are invisible, or change how others are shown."""
_SUSPECT, _SUSPECT_PART = re.compile(r"[^\x20-\x7e]"), re.compile(r"([^\x20-\x7e])")
_BREAKS = re.compile(r"(?<=/)|(?=[:@])")


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
