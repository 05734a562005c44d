"""Remove unused images, and everything else that nothing keeps.

Source: moby daemon/containerd/image_prune.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from stowage.services.engine import Engine
from stowage.services.errors import Conflict
from stowage.services.filters import Filters
from stowage.services.gc.collector import collect_unused, sweep
from stowage.services.images.delete import Removal, still_named
from stowage.services.metadata.records import ImageRecord, Target
from stowage.services.metadata.summary import PresentManifests, walk_listed
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.store.batches import REMOVED_NAMES, batches
from stowage.services.store.events import Action, log_image, log_prune
from stowage.services.store.image_filters import ImageFilter
from stowage.services.store.resolve import familiar_name

ACCEPTED_FILTERS = frozenset({"dangling", "label", "label!", "until"})

_LOCK = "prune"


@dataclass(frozen=True, slots=True)
class Pruned:
    """The result of a prune: the removed images, None if there were none, and the bytes freed on disk."""

    removals: list[Removal] | None
    freed: int


def prune_images(engine: Engine, *, filters: Filters, among: AbstractSet[str] | None = None) -> Pruned:
    """Remove the dangling images that pass the filters (with `dangling=false` also the named ones), and collect garbage. With `among`, no
    images but those with these IDs are removed.

    Costs what it removes, and nothing for the images that stay. Abandoned partials and leases count as garbage; those of a running
    transfer do not. Raises InvalidParameter for filters that make no sense, and Conflict while another prune runs.
    """
    with engine.content.exclusive(_LOCK) as alone:
        if not alone:
            raise Conflict("a prune operation is already running")
        filters.validate(ACCEPTED_FILTERS)
        image_filter = _parse(filters, engine.clock(), among)
        forgotten = _forget(engine, image_filter)
        swept = sweep(engine.metadata, engine.content, {each.record.target.digest for each in forgotten})
        garbage = collect_unused(engine.metadata, engine.content)
    gone = _attribute(forgotten, swept.blobs.keys() | garbage.blobs.keys())
    records = [each.record for each in forgotten]
    freed = swept.bytes + garbage.bytes
    for batch in batches(record for record in records if gone[record.name]):
        with engine.metadata.write() as tx:
            for record in batch:
                log_image(tx, engine, Action.DELETE, record.target.digest, name=familiar_name(record))
    with engine.metadata.write() as tx:
        log_prune(tx, engine, freed)
    return Pruned(_report(records, gone) or None, freed)


@dataclass(frozen=True, slots=True)
class _Forgotten:
    """A record that was deleted, and the present indexes and manifests that its target was or listed."""

    record: ImageRecord
    present: tuple[Digest, ...]


def _parse(filters: Filters, now: int, among: AbstractSet[str] | None) -> ImageFilter:
    image_filter = ImageFilter.parse(filters.without("dangling"), now)
    dangling = True if filters.boolean("dangling", True) else None
    return replace(image_filter, selection=replace(image_filter.selection, dangling=dangling, among=among))


def _forget(engine: Engine, image_filter: ImageFilter) -> list[_Forgotten]:
    """Delete the names that pass and have not changed since they were chosen; returns them in their order."""
    with engine.metadata.read() as tx:
        ids = image_filter.find(tx)
    forgotten: list[_Forgotten] = []
    for page in batches(ids):
        with engine.metadata.read() as tx:
            descriptors = dict.fromkeys(page, 0) | tx.targets.descriptors(page)
        for batch in batches(page, descriptors.__getitem__):
            with engine.metadata.read() as tx:
                targets = image_filter.read(tx, batch)
                manifests = tx.graph.listed(target.digest for target in targets)
            present = {target.digest: _present(target.records[-1].target, manifests) for target in targets}
            forgotten += (_Forgotten(record, present[record.target.digest]) for record in _untag(engine, targets))
    return sorted(forgotten, key=lambda each: each.record.name)


def _untag(engine: Engine, targets: Iterable[Target]) -> Iterator[ImageRecord]:
    """Delete those of these names that have not changed meanwhile, in transactions of bounded size; returns them."""
    for batch in batches((record for target in targets for record in target.records), most=REMOVED_NAMES):
        with engine.metadata.write() as tx:
            records = still_named(tx, batch)
            tx.images.delete(record.name for record in records)
            for record in records:
                log_image(tx, engine, Action.UNTAG, record.target.digest, name=familiar_name(record))
        yield from records


def _present(target: Descriptor, manifests: PresentManifests) -> tuple[Digest, ...]:
    """The present indexes and manifests that a target is or lists, depth first."""
    return tuple(dict.fromkeys(listed.digest for listed in walk_listed(target, manifests) if listed.digest in manifests))


def _attribute(forgotten: list[_Forgotten], gone: set[Digest]) -> dict[str, list[Digest]]:
    """Per name, the removed indexes and manifests: those that no later name reached."""
    last = {digest: each.record.name for each in forgotten for digest in each.present if digest in gone}
    return {each.record.name: [digest for digest in each.present if last.get(digest) == each.record.name] for each in forgotten}


def _report(records: list[ImageRecord], gone: dict[str, list[Digest]]) -> list[Removal]:
    """Per name, what was untagged, and then what was removed with it."""
    removals: list[Removal] = []
    for record in records:
        removals.append(Removal(untagged=familiar_name(record)))
        removals += (Removal(deleted=str(digest)) for digest in gone[record.name])
    return removals
