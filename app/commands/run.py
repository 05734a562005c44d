"""`stowage run`: run a command with a service of its own."""

from __future__ import annotations

from argparse import PARSER, ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stowage.settings import Config


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command. Its service does not listen on STOWAGE_BIND, which is therefore not read, not even to be refused."""
    parser = commands.add_parser("run", parents=[common], help="run a command with a service of its own, as in a CI job")
    parser.add_argument("--log", metavar="FILE", help="append the service's log to this file")
    parser.add_argument("command", metavar="COMMAND", nargs=PARSER, help="the command and its arguments, best after --")
    parser.set_defaults(run=run, bind=["localhost:0"])


def run(config: Config, options: Namespace) -> int:
    """End as the command does."""
    from stowage.running import run_with_service

    command = options.command[1:] if options.command[0] == "--" else options.command
    return run_with_service(config, command, log_file=options.log)
