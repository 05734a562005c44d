"""How a setting is declared: a field of a dataclass, with the variable, the default, the meaning and the parser in its metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Setting:
    """An environment variable: its default text, its meaning, and the parser of its text."""

    name: str
    default: str
    meaning: str
    parse: Callable[[str], object]


def setting(default: str, meaning: str, parse: Callable[[str], object], *, variable: str = "") -> Any:
    """A field of Config set by an environment variable: STOWAGE_ and the field's name, unless `variable` names another."""
    return field(metadata={"variable": variable, "default": default, "meaning": meaning, "parse": parse})


def setting_of(name: str, declared: Mapping[str, Any]) -> Setting:
    """The setting that a field with this name and metadata declares."""
    return Setting(declared["variable"] or f"STOWAGE_{name.upper()}", declared["default"], declared["meaning"], declared["parse"])
