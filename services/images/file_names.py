"""Paths of files as text that anything can show: from the root, and with escapes for bytes that are not UTF-8.

In a path with such bytes they are `\\xNN`, and a backslash is two. Other paths are shown as they are.
"""

from __future__ import annotations

import re

from stowage.services.archive.layer_files import clean_path

_STRANGE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(\\|x[0-9a-f]{2})")


def show_name(name: str) -> str:
    """A name, or a link, as text."""
    if name.isascii() or not _STRANGE.search(name):
        return name
    return _STRANGE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", name.replace("\\", "\\\\"))


def show_path(path: str) -> str:
    """A clean path as text."""
    return "/" + show_name(path)


def possible_paths(text: str) -> list[str]:
    """The clean paths that a text may mean: itself, and what it is with its escapes read."""
    paths = [clean_path(text)]
    if "\\x" in text:
        paths.append(clean_path(_ESCAPED.sub(_unescape, text)))
    return paths


def _unescape(found: re.Match[str]) -> str:
    return "\\" if found[1] == "\\" else bytes([int(found[1][1:], 16)]).decode("utf-8", "surrogateescape")
