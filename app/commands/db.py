"""`stowage db upgrade`: migrate the database."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from stowage.app.commands import add_command
from stowage.app.terminal import ProgressLine

if TYPE_CHECKING:
    from stowage.app.settings import Config


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command and what it can do."""
    actions = add_command(commands, "db", "manage the database").add_subparsers(required=True, metavar="ACTION", title="actions")
    parser = add_command(actions, "upgrade", "migrate the database to this version, as `serve` does at its start", common)
    parser.set_defaults(run=run, cut="the database is as it was before")


def run(config: Config, _: Namespace) -> int:
    """Upgrade the tables, or create them."""
    from stowage.app.holding import hold_place
    from stowage.services.metadata.store import upgrade

    config.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ProgressLine() as line:
        line.show("migrating the database")
        upgrade(config.database_url, config.platform, timeout=config.database_timeout, place=hold_place(config))
    return 0
