"""The `--name=value` options of an instruction. Source: buildkit frontend/dockerfile/instructions/bflag.go, util/suggest."""

from __future__ import annotations

from collections.abc import Collection

from stowage.services.errors import InvalidParameter

_MAX_TYPOS = 2


def parse_flags(flags: Collection[str], known: Collection[str] = ()) -> dict[str, str]:
    """The value of each flag given; raises InvalidParameter for one that is unknown, repeated or without a value."""
    values: dict[str, str] = {}
    for flag in flags:
        option, equals, value = flag.partition("=")
        name = option[2:]
        if name not in known:
            raise InvalidParameter(f"unknown flag: {option}{_suggestion(name, known)}")
        if name in values:
            raise InvalidParameter(f"duplicate flag specified: {option}")
        if not equals:
            raise InvalidParameter(f"missing a value on flag: {option}")
        values[name] = value
    return values


def _suggestion(name: str, known: Collection[str]) -> str:
    distances = [(_distance(name, candidate), candidate) for candidate in known if abs(len(name) - len(candidate)) <= _MAX_TYPOS]
    nearest = min(distances, default=(_MAX_TYPOS + 1, ""))
    return f" (did you mean {nearest[1]}?)" if nearest[0] <= _MAX_TYPOS else ""


def _distance(left: str, right: str) -> int:
    """The Levenshtein distance."""
    row = list(range(len(right) + 1))
    for index, character in enumerate(left, start=1):
        previous, row[0] = row[0], index
        for column, other in enumerate(right, start=1):
            previous, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, previous + (character != other))
    return row[-1]
