"""`stowage serve`: run the service."""

from __future__ import annotations

import gc
from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from stowage.app.commands import add_command

if TYPE_CHECKING:
    from stowage.app.settings import Config

_EXAMPLES = """  stowage serve
  stowage serve --root /srv/images --bind unix:/run/user/1000/stowage.sock
  stowage serve --bind unix:/tmp/stowage.sock --bind 127.0.0.1:2375
  STOWAGE_REGISTRY_MIRRORS=https://mirror.example.org stowage serve"""


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command."""
    parser = add_command(commands, "serve", "migrate the database and serve until Ctrl-C or SIGTERM", common, examples=_EXAMPLES)
    add_bind(parser)
    parser.set_defaults(run=run, unwinds=False)


def add_bind(parser: ArgumentParser) -> None:
    """Declare the option for the addresses."""
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="unix:PATH or HOST:PORT to listen on, instead of STOWAGE_BIND (default: stowage.sock in the root); may be repeated",
    )


def run(config: Config, _: Namespace) -> int:
    """Serve until a signal ends the service."""
    gc.disable()  # nearly all that a start creates stays; the server enables it again

    from stowage.app.server.serving import serve

    serve(config)
    return 0
