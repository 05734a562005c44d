"""`stowage run`: run a command with a service of its own."""

from __future__ import annotations

from argparse import PARSER, ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from stowage.app.commands import add_command

if TYPE_CHECKING:
    from stowage.app.settings import Config

_EXAMPLES = """  stowage run -- docker pull debian:trixie      status and output are those of the command
  stowage run --root images -- ./job.sh         keep the images in ./images"""


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command. Its service does not listen on STOWAGE_BIND, which is therefore not read, not even to be refused."""
    parser = add_command(commands, "run", "run a command with a service of its own, as in a CI job", common, examples=_EXAMPLES)
    parser.add_argument("--log", metavar="FILE", help="append the service's log to this file")
    parser.add_argument("command", metavar="COMMAND", nargs=PARSER, help="the command and its arguments, best after --")
    parser.set_defaults(run=run, bind=["localhost:0"], unwinds=False)


def run(config: Config, options: Namespace) -> int:
    """End as the command does."""
    from stowage.app.running import run_with_service

    command = options.command[1:] if options.command[0] == "--" else options.command
    return run_with_service(config, command, log_file=options.log)
