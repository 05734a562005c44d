"""`stowage blobs`: list what a store has, for `stowage save --since` on another machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction

from stowage.output import open_output
from stowage.settings import Config


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command."""
    summary = "list the digests of all blobs, for `stowage save --since` elsewhere"
    commands.add_parser("blobs", parents=[common], help=summary, description=f"{summary[0].upper()}{summary[1:]}.").set_defaults(run=run)


def run(config: Config, _: Namespace) -> int:
    """Print a digest a line."""
    from stowage.services.system.blobs import list_blobs
    from stowage.wiring import open_engine

    with open_engine(config) as engine, open_output(None) as output:
        output.writelines(line.encode() for line in list_blobs(engine))
    return 0
