"""`stowage verify`: say what is damaged in a store."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from stowage.app.commands import add_command
from stowage.app.terminal import ProgressLine, shown_share

if TYPE_CHECKING:
    from stowage.app.settings import Config

_EXAMPLES = """  stowage verify --root /srv/images             also while a service is running there
  stowage verify --deep || echo damaged         the status is 1 if anything is damaged or cannot be read"""


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command."""
    parser = add_command(commands, "verify", "hash every blob again and check that every image is whole", common, examples=_EXAMPLES)
    parser.add_argument("--deep", action="store_true", help="also inflate every layer")
    parser.set_defaults(run=run, cut="the rest of the store was not checked")


def run(config: Config, options: Namespace) -> int:
    """Print every finding. Only damage makes the command fail; leftovers do not."""
    from stowage.app.wiring import open_engine
    from stowage.services.gc.verify import FindingKind, verify_store

    damaged = 0
    with open_engine(config) as engine, ProgressLine() as line:
        line.show("checking the database")

        def advance(done: int, total: int) -> None:
            line.show(f"hashing blobs: {shown_share(done, total)}" if done < total else "checking manifests and images")

        for finding in verify_store(engine.metadata, engine.content, deep=options.deep, advance=advance):
            line.print(f"{finding.kind}: {finding.sentence}")
            damaged += finding.kind is FindingKind.DAMAGE
    print(f"{damaged} damaged" if damaged else "every image is whole")
    return 1 if damaged else 0
