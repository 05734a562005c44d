"""`stowage adopt`: make a bucket belong to this database."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from stowage.app.commands import add_command

if TYPE_CHECKING:
    from stowage.app.settings import Config

_EXAMPLES = """  stowage adopt                                 after the database was moved to another server, or restored there
"""


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command."""
    parser = add_command(commands, "adopt", "make the bucket of STOWAGE_CONTENT_URL belong to this database", common, examples=_EXAMPLES)
    parser.set_defaults(run=run, cut="the bucket belongs to the database that it belonged to before, or to this one")


def run(config: Config, _: Namespace) -> int:
    """Write the mark of the bucket. Whatever used it before is refused from its next start on, and must not run now."""
    from stowage.app.content_wiring import open_bucket
    from stowage.app.settings import ConfigError
    from stowage.app.terminal import say
    from stowage.app.wiring import open_metadata

    if config.bucket is None:
        raise ConfigError("STOWAGE_CONTENT_URL: only a bucket is adopted; a folder says itself how.")
    with open_metadata(config) as metadata:
        content = open_bucket(config, metadata)
        before = content.mark()
        content.adopt(metadata.store_id())
        metadata.note_claim()
        say(f"{config.bucket} belongs to {metadata.identity()}" + (f", no longer to {before[1]}" if before else ""))
    return 0
