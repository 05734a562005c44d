"""Texts of clients and registries, made printable: for the log, and for what commands print on a terminal."""

from __future__ import annotations

LINE = 3900
"""Limit of characters in a message or a line of a traceback: with time, level and logger before it, a line has fewer than 4,096."""


def one_line(text: str) -> str:
    """The text with unprintable characters escaped, and without its middle if it is long."""
    if len(text) <= LINE and len(escaped := escape(text)) <= LINE:
        return escaped
    half = LINE // 2
    return f"{escape(text[:half])[:half]}[cut, {len(text)} characters in all]{escape(text[-half:])[-half:]}"


def escape(text: str) -> str:
    """Escape line breaks, control characters, overrides of text direction, and surrogates as in a Python string."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)
