"""`stowage verify`, `gc`, `db upgrade` and `adopt`: what keeps a store in order."""

from __future__ import annotations

from argparse import Namespace

from stowage.app.content_wiring import open_bucket
from stowage.app.holding import hold_place
from stowage.app.settings import Config, ConfigError
from stowage.app.terminal import ProgressLine, say, shown_share
from stowage.app.wiring import open_engine, open_metadata
from stowage.services.gc.collector import collect_garbage
from stowage.services.gc.verify import FindingKind, verify_store
from stowage.services.metadata.store import upgrade


def verify(config: Config, options: Namespace) -> int:
    """Print every finding. Only damage makes the command fail; leftovers do not."""
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


def collect(config: Config, _: Namespace) -> int:
    """Remove what nothing needs, and print what was removed."""
    with open_engine(config) as engine, ProgressLine() as line:
        line.show("looking for what nothing needs")
        swept = collect_garbage(engine.metadata, engine.content, lambda done, total: line.show(f"removing blobs: {done} of {total}"))
    for sentence in swept.unseen:
        say(sentence)
    print(f"removed {len(swept.blobs)} blobs, freed {swept.bytes} bytes")
    return 0


def upgrade_database(config: Config, _: Namespace) -> int:
    """Upgrade the tables, or create them."""
    config.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ProgressLine() as line:
        line.show("migrating the database")
        upgrade(config.database_url, config.platform, timeout=config.database_timeout, place=hold_place(config))
    return 0


def adopt(config: Config, _: Namespace) -> int:
    """Write the mark of the bucket. Whatever used it before is refused from its next start on, and must not run now."""
    if config.bucket is None:
        raise ConfigError("STOWAGE_CONTENT_URL: only a bucket is adopted; a folder says itself how.")
    with open_metadata(config) as metadata:
        content = open_bucket(config, metadata)
        before = content.mark()
        content.adopt(metadata.store_id())
        metadata.note_claim()
        say(f"{config.bucket} belongs to {metadata.identity()}" + (f", no longer to {before[1]}" if before else ""))
    return 0
