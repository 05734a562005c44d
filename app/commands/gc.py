"""`stowage gc`: remove what nothing needs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from stowage.app.commands import add_command
from stowage.app.terminal import ProgressLine, say

if TYPE_CHECKING:
    from stowage.app.settings import Config

_EXAMPLES = """  stowage gc
  stowage gc --root /srv/images                 also while a service is running there"""


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command."""
    parser = add_command(commands, "gc", "remove what no image and no running transfer needs", common, examples=_EXAMPLES)
    parser.set_defaults(run=run, cut="the next run removes the rest")


def run(config: Config, _: Namespace) -> int:
    """Print what was removed."""
    from stowage.app.wiring import open_engine
    from stowage.services.gc.collector import collect_garbage

    with open_engine(config) as engine, ProgressLine() as line:
        line.show("looking for what nothing needs")
        swept = collect_garbage(engine.metadata, engine.content, lambda done, total: line.show(f"removing blobs: {done} of {total}"))
    for sentence in swept.unseen:
        say(sentence)
    print(f"removed {len(swept.blobs)} blobs, freed {swept.bytes} bytes")
    return 0
