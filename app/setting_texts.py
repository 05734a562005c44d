"""How the text of a setting is found, read, and shown without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from stowage.app.setting_fields import Setting

OPTIONS = {"STOWAGE_ROOT": "--root", "STOWAGE_BIND": "--bind"}
"""The settings that are also options of the command line."""

_DATABASE_SECRETS = re.compile(r"(?<=://)\S*@|(?<=\?)\S+")
_SECRETS = re.compile(r"(?<!file://)(?<!sqlite://)(?<=://)[^\s,]*@|(?<![^\s,])[^\s,/]+:[^\s,/]*@|(?<=\?)[^\s,]+")


class ConfigError(Exception):
    """A setting is invalid; `str(error)` is a sentence for the user."""


def given_options(arguments: Mapping[str, Any]) -> dict[str, str]:
    """The settings among the parsed arguments of a command, by their variable's name; raises ConfigError for an empty address."""
    binds = arguments.get("bind")
    if binds and not all(binds):
        raise ConfigError("--bind must not be empty.")
    given = {"STOWAGE_ROOT": arguments.get("root"), "STOWAGE_BIND": ",".join(binds) if binds else None}
    return {name: text for name, text in given.items() if text is not None}


def read_setting(setting: Setting, environ: Mapping[str, str], options: Mapping[str, str]) -> Any:
    """The value of one setting; raises ConfigError, whose sentence shows no secrets."""
    text = options.get(setting.name, environ.get(setting.name, setting.default))
    try:
        return setting.parse(text)
    except ValueError as exc:
        name = OPTIONS[setting.name] if setting.name in options else setting.name
        raise ConfigError(f"{name} {mask_secrets(str(exc))}.") from None


def unknown_settings(environ: Mapping[str, str], settings: Iterable[Setting]) -> list[str]:
    """The variables that look like settings and are none, in order."""
    return sorted({name for name in environ if name.startswith("STOWAGE_")} - {setting.name for setting in settings})


def mask_secrets(text: str) -> str:
    """The text without the user, password and query of any URL in it, whether or not the URL is valid."""
    pattern = _DATABASE_SECRETS if text.startswith("postgres") else _SECRETS  # a password may contain commas
    return pattern.sub(lambda secret: "xxxxx@" if secret[0].endswith("@") else "xxxxx", text)
