"""`stowage serve`: run the service."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction

from stowage.settings import Config


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command."""
    commands.add_parser("serve", parents=[common], help="migrate the database and serve").set_defaults(run=run)


def run(config: Config, _: Namespace) -> int:
    """Serve until SIGTERM."""
    from stowage.server.serving import serve

    serve(config)
    return 0
