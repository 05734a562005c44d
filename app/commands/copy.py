"""`stowage copy`: copy the metadata of a store to another database."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from stowage.commands import add_command
from stowage.terminal import ProgressLine

if TYPE_CHECKING:
    from stowage.settings import Config

_EXAMPLES = """  stowage copy --to-database postgresql://stowage@db.example.org/stowage
  STOWAGE_DATABASE_URL=postgresql://... stowage copy --to-database sqlite:////srv/images/stowage.db

The blobs stay where they are, and the database that was copied stays as it is.
Set STOWAGE_DATABASE_URL to the other one before the next start."""


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command and its option."""
    summary = "copy the database of a store, while no service runs, to one that is empty"
    parser = add_command(commands, "copy", summary, common, examples=_EXAMPLES)
    parser.add_argument("--to-database", metavar="URL", required=True, help="where to, as in STOWAGE_DATABASE_URL")
    parser.set_defaults(run=run, cut="the other database is as it was before")


def run(config: Config, options: Namespace) -> int:
    """Hold the folders, so that no service starts, and copy every row."""
    from dataclasses import replace

    from stowage.holding import hold_folders, hold_place, require_unheld
    from stowage.services.metadata.copying import copy_rows, require_room
    from stowage.services.metadata.store import upgrade
    from stowage.setting_parsers import parse_database
    from stowage.settings import ConfigError
    from stowage.wiring import open_engine

    try:
        target = replace(config, database=parse_database(options.to_database))
    except ValueError as exc:
        raise ConfigError(f"--to-database {exc}.") from None
    if not target.database or target.database_url == config.database_url:
        raise ConfigError("--to-database must name another database.")
    with open_engine(config):
        hold_folders(config)
    if target.database_file:
        require_unheld(target.database_file.parent, config)
    place = hold_place(config) or hold_place(target)
    if target.database_file is None or target.database_file.exists():
        require_room(target.database_url, timeout=config.database_timeout, place=place)
    with ProgressLine() as line:
        line.show("creating the tables")
        upgrade(target.database_url, config.platform, timeout=config.database_timeout, place=place)
        rows = copy_rows(
            config.database_url,
            target.database_url,
            timeout=config.database_timeout,
            place=place,
            advance=lambda done, total: line.show(f"copying tables: {done} of {total}"),
        )
    print(f"copied and compared {rows} rows; to use the copy, set STOWAGE_DATABASE_URL={target.database_name}")
    return 0
