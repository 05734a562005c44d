"""Remove unused images, and everything else that nothing keeps.

Source: moby daemon/containerd/image_prune.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.errors import Conflict
from stowage.services.filters import Filters
from stowage.services.gc.collector import collect_garbage, sweep
from stowage.services.images.delete import Removal
from stowage.services.metadata.records import ImageRecord
from stowage.services.oci.digest import Digest
from stowage.services.store.batches import batches
from stowage.services.store.events import Action, log_image, log_prune
from stowage.services.store.image_filters import select_records
from stowage.services.store.resolve import familiar_name, is_dangling
from stowage.services.store.summary import PresentManifests, walk_present

ACCEPTED_FILTERS = frozenset({"dangling", "label", "label!", "until"})

_LOCK = Digest.of(b"stowage: one prune at a time")
"""Prunes lock a blob that does not exist: the lock works across processes and disappears with its holder."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed, None if nothing, and the bytes that it freed on disk."""

    removals: list[Removal] | None
    freed: int


def prune_images(engine: Engine, *, filters: Filters) -> Pruned:
    """Remove the dangling images that pass the filters (with `dangling=false` also the named ones), and collect all garbage.

    Abandoned partials and leases count as garbage; those of a running transfer do not. Raises InvalidParameter for filters that make no
    sense, and Conflict while another prune runs.
    """
    with engine.content.locked(_LOCK) as alone:
        if not alone:
            raise Conflict("a prune operation is already running")
        filters.validate(ACCEPTED_FILTERS)
        catalog = engine.metadata.catalog()
        records = _forget(engine, _select(engine, catalog.images, catalog.manifests, filters))
        swept = sweep(engine.metadata, engine.content, {record.target.digest for record in records})
        garbage = collect_garbage(engine.metadata, engine.content)
    gone = _attribute(records, catalog.manifests, swept.blobs.keys() | garbage.blobs.keys())
    freed = swept.bytes + garbage.bytes
    for batch in batches(record for record in records if gone[record.name]):
        with engine.metadata.write() as tx:
            for record in batch:
                log_image(tx, engine, Action.DELETE, record.target.digest, name=familiar_name(record))
    with engine.metadata.write() as tx:
        log_prune(tx, engine, freed)
    return Pruned(_report(records, gone) or None, freed)


def _select(engine: Engine, images: tuple[ImageRecord, ...], manifests: PresentManifests, filters: Filters) -> list[ImageRecord]:
    dangling_only = filters.boolean("dangling", True)
    predicates = select_records(filters.without("dangling"), manifests, engine.clock())
    candidates = (record for record in images if is_dangling(record) or not dangling_only)
    return [record for record in candidates if all(passes(record) for passes in predicates)]


def _forget(engine: Engine, records: list[ImageRecord]) -> list[ImageRecord]:
    """Delete the names that still have the target they were chosen for; returns their records."""
    forgotten: list[ImageRecord] = []
    for batch in batches(records):
        with engine.metadata.write() as tx:
            unchanged = [record for record in batch if tx.images.get(record.name) == record]
            for record in unchanged:
                tx.images.delete(record.name)
                log_image(tx, engine, Action.UNTAG, record.target.digest, name=familiar_name(record))
        forgotten += unchanged
    return forgotten


def _attribute(records: list[ImageRecord], manifests: PresentManifests, gone: set[Digest]) -> dict[str, list[Digest]]:
    """Per name, the removed indexes and manifests: those that no later name reached."""
    present = {record.name: dict.fromkeys(walk_present(record.target.digest, manifests)) for record in records}
    last = {digest: name for name, digests in present.items() for digest in digests if digest in gone}
    return {name: [digest for digest in digests if last.get(digest) == name] for name, digests in present.items()}


def _report(records: list[ImageRecord], gone: dict[str, list[Digest]]) -> list[Removal]:
    """Per name, what was untagged, and then what was removed with it."""
    removals: list[Removal] = []
    for record in records:
        removals.append(Removal(untagged=familiar_name(record)))
        removals += (Removal(deleted=str(digest)) for digest in gone[record.name])
    return removals
