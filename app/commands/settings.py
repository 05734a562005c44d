"""`stowage settings`: print every setting, its value now, and where it comes from."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping

from stowage.app.setting_fields import Setting
from stowage.app.settings import OPTIONS, SETTINGS, Config, ConfigError, given_options, mask_secrets, read_settings

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def print_settings(_: None, options: Namespace) -> int:
    """Print a line for each setting; the status is 2 if they would be refused, with a sentence for each reason."""
    given, environ = given_options(vars(options)), os.environ
    values, unknown, wrong = read_settings(environ, given)
    problems = [f"{name} is not a setting of Stowage." for name in unknown] + wrong
    if not problems:
        try:
            config = Config.from_environ(environ, given)
            values |= {"bind": config.bind, "database": config.database_url, "content": config.bucket or config.content_root}
        except ConfigError as exc:
            problems.append(str(exc))
    rows = [(setting.name, *_shown(setting, values.get(field), environ, given)) for field, setting in SETTINGS.items()]
    _print_table([*rows, *_proxies(environ)])
    for problem in problems:
        print(f"stowage: {problem}", file=sys.stderr)
    return 2 if problems else 0


def _shown(setting: Setting, value: object, environ: Mapping[str, str], options: Mapping[str, str]) -> tuple[str, str]:
    """The value of a setting as text without secrets, and its source. What is not valid is shown as it was written."""
    given = options.get(setting.name, environ.get(setting.name))
    source = f"option {OPTIONS[setting.name]}" if setting.name in options else "default" if given is None else "environment"
    return mask_secrets(_text(value) if value is not None or not given else given), source


def _proxies(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The usual variables for proxies that are set, which count too."""
    names = [name for usual in _PROXIES for name in (usual, usual.lower())]
    return [(name, mask_secrets(environ[name]), "environment") for name in names if environ.get(name)]


def _text(value: object) -> str:
    """A value as it can be written into its variable."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _print_table(rows: list[tuple[str, str, str]]) -> None:
    """Names and values in columns; a long value pushes its source to the right instead of widening the column for all."""
    names = max(len(name) for name, _, _ in rows)
    values = max((len(value) for _, value, _ in rows if len(value) <= 60), default=0)
    for name, value, source in rows:
        print(f"{name:{names}}  {value:{values}}  {source}")
