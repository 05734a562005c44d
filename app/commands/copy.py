"""`stowage copy`: copy a store, or only its metadata, to another place."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from stowage.app.commands import add_command
from stowage.app.terminal import ProgressLine

if TYPE_CHECKING:
    from stowage.app.settings import Config

_EXAMPLES = """  stowage copy --to-database postgresql://stowage@db.example.org/stowage
  STOWAGE_DATABASE_URL=postgresql://... stowage copy --to-database sqlite:////srv/images/stowage.db
  stowage copy --to-database postgresql://... --to-content 's3://images/stowage?region=eu-central-1'
  stowage copy --to-database sqlite:////srv/other/stowage.db --to-content /srv/other

Without --to-content the blobs stay where they are. What was copied stays as it is. Set STOWAGE_DATABASE_URL, and with
--to-content STOWAGE_CONTENT_URL, to the copy before the next start. A copy that was cut off is continued by the same command."""


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command and its options."""
    summary = "copy a store, or only its database, while no service runs, to a place that is empty"
    parser = add_command(commands, "copy", summary, common, examples=_EXAMPLES)
    parser.add_argument("--to-database", metavar="URL", help="where to, as in STOWAGE_DATABASE_URL")
    parser.add_argument("--to-content", metavar="URL", help="copy the blobs too, to a folder or a bucket as in STOWAGE_CONTENT_URL")
    parser.set_defaults(run=run, cut="the copy is not complete; the same command continues it")


def run(config: Config, options: Namespace) -> int:
    """Copy the rows, and the blobs if they are to have another place."""
    from stowage.app.store_copy import copy_database, copy_store, used_by

    target = _target(config, options)
    with ProgressLine() as line:
        said = copy_database(config, target, line) if options.to_content is None else copy_store(config, target, line)
    if not said:
        return 1
    print(said if options.to_content is None else f"{said}; {used_by(target, options.to_content)}")
    return 0


def _target(config: Config, options: Namespace) -> Config:
    """The settings of the copy. Raises ConfigError if they are not those of another store."""
    from dataclasses import replace

    from stowage.app.setting_fields import content, database
    from stowage.app.settings import ConfigError

    if not options.to_database:
        also = "" if options.to_content is None else ": blobs in another place need a database of their own"
        raise ConfigError(f"--to-database must name another database{also}.")
    try:
        target = replace(config, database=database(options.to_database))
    except ValueError as exc:
        raise ConfigError(f"--to-database {exc}.") from None
    if target.database_url == config.database_url:
        raise ConfigError("--to-database must name another database.")
    if options.to_content is None:
        return target
    try:
        target = replace(target, content=content(options.to_content))
    except ValueError as exc:
        raise ConfigError(f"--to-content {exc}.") from None
    if target.content in (None, config.bucket or config.content_root):
        raise ConfigError("--to-content must name another folder or bucket.")
    return target
