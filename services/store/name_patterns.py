"""Patterns of names, and conditions for the database that every matching name meets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

from stowage.services.errors import InvalidParameter
from stowage.services.filters import GLOB_TOKEN, MOST_GLOB, compile_glob, is_glob
from stowage.services.oci.reference import DANGLING_PREFIX, name_forms

_MAX_GLOBS = 100
"""Limit of patterns in a request: each takes some time for every image, while any number of whole names takes none."""
_MAX_PREFIXES = 100
"""With more, all names are read instead of a range of names for each."""
_MAX_LIKES = 20
_MAX_STARS = 3
"""SQLite tries every place for each of them."""
_LITERAL = re.compile(r"[^*?\[\\]*")
_ESCAPED, _ESCAPE = re.compile(r"[%_\\]"), r"\\\g<0>"
_NO_NAME = "\ufffd"
"""Like NUL, it is in no name, but PostgreSQL takes it."""
_DOCKER = "docker.io/"
_OFFICIAL = "docker.io/library/"


class NamePatterns:
    """Patterns of a `reference` filter: they match the familiar and the canonical name, each with and without its tag.

    A malformed pattern matches nothing. With a `part`, the familiar name must contain it too, or the canonical name begin with it as far as
    a slash; without patterns that is enough. Raises InvalidParameter for a text that is too long, and for too many patterns.
    """

    def __init__(self, patterns: Sequence[str], part: str = "") -> None:
        if len(part) > MOST_GLOB:
            raise InvalidParameter(f"a part of a name has {len(part)} characters, more than {MOST_GLOB}")
        patterns, part = [pattern.replace("\0", _NO_NAME) for pattern in patterns], part.replace("\0", _NO_NAME)
        self._part, self._is_any = part, not patterns
        self._whole = {pattern for pattern in patterns if not is_glob(pattern)}
        wild = [pattern for pattern in patterns if is_glob(pattern)]
        if len(wild) > _MAX_GLOBS:
            raise InvalidParameter(f"invalid filter: more than {_MAX_GLOBS} patterns; use fewer filters at a time")
        globs = [glob.pattern for glob in map(compile_glob, wild) if glob]
        self._glob = re.compile("|".join(f"(?:{glob})" for glob in globs) or "(?!)", re.DOTALL)
        prefixes = _outermost(chain.from_iterable(map(_prefixes, patterns)) if patterns else [""])
        self.prefixes = prefixes if len(prefixes) <= _MAX_PREFIXES else [""]
        """A name that matches begins with one of these."""
        self.likes = _likes(patterns) if patterns else [f"%{_ESCAPED.sub(_ESCAPE, part)}%"]
        """A name that matches meets one of these patterns of SQL; none if they are too many to be faster."""

    def match(self, name: str) -> bool:
        """Whether a record's name matches."""
        forms = name_forms(name)
        if self._part and not self._contains_part(name, forms[0]):
            return False
        return self._is_any or not self._whole.isdisjoint(forms) or any(map(self._glob.fullmatch, forms))

    def _contains_part(self, name: str, familiar: str) -> bool:
        is_shown = not name.startswith(DANGLING_PREFIX)
        return is_shown and (self._part in familiar or ("/" in self._part and name.startswith(self._part)))


def _prefixes(pattern: str) -> list[str]:
    """What a record's name begins with if it matches this pattern."""
    literal = _literal(pattern)
    repository = literal.partition("@")[0]
    head, colon, tag = repository.rpartition(":")
    if colon and "/" not in tag:
        repository = head
    ends = (":", "@") if literal == pattern or repository != literal else ("",)
    starts = [repository, _DOCKER + repository, _OFFICIAL + repository]
    if repository.startswith(_OFFICIAL):
        starts.append(repository.removeprefix(_OFFICIAL))
    dangling = [DANGLING_PREFIX] if _OFFICIAL.startswith(repository) else []
    return [start + end for start in starts for end in ends] + dangling


def _literal(pattern: str) -> str:
    """What a pattern begins with before its first special character."""
    match = _LITERAL.match(pattern)
    return match[0] if match else ""


def _outermost(prefixes: Iterable[str]) -> list[str]:
    """These without those that begin with another one."""
    kept: list[str] = []
    for prefix in sorted(prefixes):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept


def _likes(patterns: Sequence[str]) -> list[str]:
    """What names in the store that match are like, unless that would take longer than to look at each."""
    found = list(dict.fromkeys(chain.from_iterable(map(_likes_of, patterns))))
    if not any(map(is_glob, patterns)) or len(found) > _MAX_LIKES or any(like.count("%") > _MAX_STARS + 1 for like in found):
        return []
    return [*found, f"{DANGLING_PREFIX}%"]


def _likes_of(pattern: str) -> list[str]:
    """What a record's name is like if it matches this pattern, for LIKE with the escape `\\`; what is dangling aside."""
    like, position = "", 0
    while position < len(pattern):
        token = GLOB_TOKEN.match(pattern, position)
        if token is None:  # it is malformed, and matches nothing
            return []
        like += _like(token[0])
        position = token.end()
    starts = ("",) if like.startswith("%") else ("", _DOCKER, _OFFICIAL)
    ends = ("",) if like.endswith("%") else ("", ":%", "@%")
    return [start + like + end for start in starts for end in ends]


def _like(token: str) -> str:
    """The part of a pattern for LIKE that a part of a glob becomes."""
    if token == "*":
        return "%"
    if token[0] in "?[":
        return "_"
    return _ESCAPED.sub(_ESCAPE, token[-1])
