"""`stowage blobs`: list what a store has, for `stowage save --since` on another machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from stowage.app.commands import add_command

if TYPE_CHECKING:
    from stowage.app.settings import Config


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command."""
    summary = "list the digests of all blobs, for `stowage save --since` elsewhere"
    add_command(commands, "blobs", summary, common, examples="  stowage blobs > blobs.txt").set_defaults(run=run)


def run(config: Config, _: Namespace) -> int:
    """Print a digest a line."""
    from stowage.app.output import open_output
    from stowage.app.wiring import open_engine
    from stowage.services.system.blobs import list_blobs

    with open_engine(config) as engine, open_output(None) as output:
        output.writelines(line.encode() for line in list_blobs(engine))
    return 0
