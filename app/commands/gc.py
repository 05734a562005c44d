"""`stowage gc`: remove what nothing needs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction

from stowage.settings import Config
from stowage.terminal import ProgressLine


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command."""
    commands.add_parser("gc", parents=[common], help="remove what no image and no running transfer needs").set_defaults(run=run)


def run(config: Config, _: Namespace) -> int:
    """Print what was removed."""
    from stowage.services.gc.collector import collect_garbage
    from stowage.wiring import open_engine

    with open_engine(config) as engine, ProgressLine() as line:
        line.show("looking for what nothing needs")
        swept = collect_garbage(engine.metadata, engine.content, lambda done, total: line.show(f"removing blobs: {done} of {total}"))
    print(f"removed {len(swept.blobs)} blobs, freed {swept.bytes} bytes")
    return 0
