"""Percent escapes as Go's net/url checks them. Source: Go net/url url.go, unescape and EscapeError."""

from __future__ import annotations

import re

from stowage.services.oci.gojson import quote

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)


def escape_problem(text: str) -> str:
    """Go's error about the first `%` without two hexadecimal digits after it; empty if there is none."""
    found = _BAD_ESCAPE.search(text)
    return f"invalid URL escape {quote(found[0])}" if found else ""
