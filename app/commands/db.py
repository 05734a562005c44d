"""`stowage db upgrade`: migrate the database."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction

from stowage.settings import Config


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command and what it can do."""
    actions = commands.add_parser("db", help="the database").add_subparsers(required=True)
    actions.add_parser("upgrade", parents=[common], help="migrate the database to this version").set_defaults(run=run)


def run(config: Config, _: Namespace) -> int:
    """Upgrade the tables, or create them."""
    from stowage.services.metadata.store import upgrade

    config.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    upgrade(config.database_url)
    return 0
