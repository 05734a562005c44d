"""Remove names from an image, and the image when none are left, or remove single platforms from it.

Source: moby daemon/containerd/image_delete.go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from stowage.services.engine import Engine
from stowage.services.errors import Conflict, InvalidParameter, NotFound
from stowage.services.gc.collector import collect_expired, end_abandoned, sweep
from stowage.services.metadata.records import ImageRecord, Selection
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import ImageSummary, platform_not_found, read_manifests, summarize
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.oci.reference import Reference
from stowage.services.store.batches import REMOVED_NAMES, batches
from stowage.services.store.events import Action, log_image
from stowage.services.store.resolve import familiar_name, image_not_found, is_dangling, resolve_all

_SHOWN_NAMES = 20
"""How many names a plan has in words."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that was removed: a name, or an image's ID; the other is empty."""

    untagged: str = ""
    deleted: str = ""


@dataclass(frozen=True, slots=True)
class _Named:
    """The records behind a name: that of exactly this name if any, those that share its target, and those removed with it."""

    record: ImageRecord | None
    sharing: list[ImageRecord]
    named: Reference | None
    same: list[ImageRecord]

    @property
    def target(self) -> Digest:
        return self.sharing[0].target.digest

    def doomed(self, *, force: bool) -> list[ImageRecord]:
        """The records to remove: all of the image's, unless the name leaves others. Raises Conflict for an ID with several names."""
        if len(self.same) == len(self.sharing):
            return self.sharing
        if self.named:
            return self.same
        if not force:
            raise _conflict(self.target, "must be forced", "image is referenced in multiple repositories")
        return self.sharing


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned deletion: `count` names of an image, and the image with them if it `is_whole`. `names` are the first, as Docker shows
    them.

    Two plans that remove the same have the same `key`.
    """

    image: Digest
    is_whole: bool
    names: tuple[str, ...]
    count: int
    key: str


@dataclass(frozen=True, slots=True)
class Deletion:
    """The result of a deletion: the removed names, whether the image is gone, and the bytes freed on disk."""

    removals: list[Removal]
    is_gone: bool = False
    freed: int = 0


def delete_image(engine: Engine, name: str, *, force: bool = False, platforms: Sequence[Platform] = ()) -> list[Removal]:
    """Untag `name`, or delete the image if that is its only name or `name` is its ID; what only it needed is freed at once.

    Hundreds of names are removed one part after the other, as Docker does with each; the image stays if it gets another one meanwhile.
    With `platforms` the names stay. Those platforms' manifests are removed with what only they needed: all of them or, on an error, none.
    Raises InvalidParameter for a blank or malformed name and for platforms without `force`, ImageNotFound, NotFound for a platform that is
    not present, and Conflict for an ID with several names unless `force`, or for a platform that something else needs.
    """
    check_not_blank(name)
    if platforms:
        if not force:
            raise InvalidParameter("Content will be removed from all images referencing this variant. Use \u2014-force to force delete.")
        return _delete_platforms(engine, name, platforms)
    return _delete(engine, name, force=force).removals


def plan_deletion(engine: Engine, name: str, *, force: bool = False) -> Plan:
    """What `delete_image` would remove now; raises as it does."""
    check_not_blank(name)
    with engine.metadata.read() as tx:
        found = _find(tx, name)
        return _plan(found, found.doomed(force=force))


def delete_planned(engine: Engine, name: str, keys: Collection[str], *, force: bool = False) -> Deletion:
    """As `delete_image`, but only if the key of what it would remove now is among these. Raises Conflict otherwise."""
    check_not_blank(name)
    return _delete(engine, name, force=force, keys=keys)


def _plan(found: _Named, doomed: list[ImageRecord]) -> Plan:
    is_whole = len(doomed) == len(found.sharing)
    names = [familiar_name(record) for record in doomed if not is_dangling(record)]
    everything = repr((str(found.target), is_whole, [record.name for record in doomed]))
    return Plan(found.target, is_whole, tuple(names[:_SHOWN_NAMES]), len(names), Digest.of(everything.encode()).hex)


def _delete(engine: Engine, name: str, *, force: bool, keys: Collection[str] | None = None) -> Deletion:
    """Remove names, and the image with its last one; the first names in the transaction that checks the key."""
    with engine.metadata.write() as tx:
        found = _find(tx, name)
        doomed = found.doomed(force=force)
        if keys is not None and _plan(found, doomed).key not in keys:
            raise Conflict(f"the names of image {found.target.short} have changed")
        if len(doomed) < len(found.sharing):
            return Deletion(_untag(tx, engine, doomed))
        first, *others = batches(doomed, most=REMOVED_NAMES)
        removals = _untag(tx, engine, first)
        is_gone = _report_gone(tx, engine, found.target)
    for batch in others:
        with engine.metadata.write() as tx:
            named = still_named(tx, batch)
            removals += _untag(tx, engine, named)
            if named:
                is_gone = _report_gone(tx, engine, found.target)
    swept = sweep(engine.metadata, engine.content, [found.target])
    collect_expired(engine.metadata, engine.content)
    if is_gone:
        removals.append(Removal(deleted=str(found.target)))
    return Deletion(removals, is_gone, swept.bytes)


def still_named(tx: Transaction, records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Those of these records that are as they were read."""
    known = tx.images.named([record.name for record in records])
    return [record for record in records if known.get(record.name) == record]


def check_not_blank(name: str) -> None:
    """Raise InvalidParameter for a blank name, before any other error."""
    if not name.strip():
        raise InvalidParameter("image name cannot be blank")


def _find(tx: Transaction, name: str) -> _Named:
    record, sharing = resolve_all(tx, name)
    named = None if _begins_id(sharing[0].target.digest, name) else Reference.parse(record.name if record else name)
    same = _same_references(named, sharing)
    if named and not same:
        raise image_not_found(named)
    return _Named(record, sharing, named, same)


def _delete_platforms(engine: Engine, name: str, platforms: Sequence[Platform]) -> list[Removal]:
    """Remove the manifests under their content locks, so no writer reuses one before its file is removed, and sweep what was below.

    They are chosen before, since an image may list tens of thousands.
    """
    end_abandoned(engine.metadata)  # only a running transfer may block the removal
    with engine.metadata.read() as tx:
        found = _find(tx, name)
        image = _listed_once(summarize(found.record or found.sharing[0], read_manifests(tx, found.target)))
    chosen: dict[Digest, Platform] = {}
    for platform in platforms:
        chosen[_choose(image, platform, chosen)] = platform
    with ExitStack() as locks:
        with engine.metadata.write() as tx:
            _require_unneeded(tx, image, chosen)
            for digest in chosen:
                if not locks.enter_context(engine.content.locked(digest)):
                    raise _conflict(digest, "cannot be forced", "it is being written")
            below = tx.graph.descendants(chosen)
            tx.graph.remove(chosen)
        engine.content.delete(chosen)
    sweep(engine.metadata, engine.content, below.difference(chosen))
    return [Removal(deleted=str(digest)) for digest in chosen]


def _listed_once(image: ImageSummary) -> ImageSummary:
    """The image as if none of its indexes listed a manifest again, for the same platform: nested, they may list it thousands of times."""
    first = {(manifest.descriptor.digest, manifest.platform): manifest for manifest in reversed(image.manifests)}
    return replace(image, manifests=tuple(reversed(first.values())))


def _choose(image: ImageSummary, platform: Platform, chosen: Collection[Digest]) -> Digest:
    """The present manifest for exactly this platform, other than those that are chosen already."""
    left = tuple(manifest for manifest in image.manifests if manifest.descriptor.digest not in chosen)
    best = replace(image, manifests=left).best_present(PlatformMatcher.only_strict(platform))
    if best is None:
        raise NotFound(f"{_failure(image, platform)}: {platform_not_found(familiar_name(image.record), None)}")
    return best.descriptor.digest


def _require_unneeded(tx: Transaction, image: ImageSummary, chosen: Mapping[Digest, Platform]) -> None:
    """Raise Conflict if anything but this image needs one of its manifests, and NotFound if one has been removed meanwhile."""
    target = image.record.target.digest
    present = tx.graph.present(chosen)
    if present == chosen.keys() and not _need(tx, chosen, target):
        return
    for digest, platform in chosen.items():
        if digest not in present:
            raise NotFound(f"{_failure(image, platform)}: {platform_not_found(familiar_name(image.record), None)}")
        if need := _need(tx, [digest], target):
            raise Conflict(f"{_failure(image, platform)}: {_conflict(digest, 'cannot be forced', need)}")


def _failure(image: ImageSummary, platform: Platform) -> str:
    shown = "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)
    return f"failed to delete platform {shown} for image {image.record.target.digest}"


def _need(tx: Transaction, digests: Collection[Digest], target: Digest) -> str:
    """Why manifests of this image cannot be removed; empty if they can."""
    if target in digests:
        return "it is the image itself"
    above = tx.graph.ancestors(digests)
    if tx.graph.needing(digests):
        return "another manifest needs it"
    if tx.targets.find(Selection(among=frozenset(map(str, above - {target}))), limit=1):
        return "another image needs it"
    return "a running transfer needs it" if tx.leases.held(above) else ""


def _conflict(digest: Digest, remedy: str, reason: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {digest.short} ({remedy}) - {reason}")


def _begins_id(target: Digest, name: str) -> bool:
    return str(target).startswith(name) or target.hex.startswith(name)


def _untag(tx: Transaction, engine: Engine, records: list[ImageRecord]) -> list[Removal]:
    """Remove these names. The internal name of a dangling image is not reported."""
    tx.images.delete(record.name for record in records)
    named = [record for record in records if not is_dangling(record)]
    for record in named:
        log_image(tx, engine, Action.UNTAG, record.target.digest, name=familiar_name(record))
    return [Removal(untagged=familiar_name(record)) for record in named]


def _report_gone(tx: Transaction, engine: Engine, target: Digest) -> bool:
    """Report the image as deleted, unless it has a name."""
    is_gone = not tx.images.by_target(target, most=1)
    if is_gone:
        log_image(tx, engine, Action.DELETE, target, name=target)
    return is_gone


def _same_references(named: Reference | None, records: list[ImageRecord]) -> list[ImageRecord]:
    """The records of an image that are removed with `named`: the same name and tag, its digest if no other tag is left, and the
    dangling one.

    Without `named` the first named record takes its place. A name given by digest means every tag of its repository.
    """
    tag = named.tag if named else None
    every_tag = named is not None and named.tag is None and named.digest is not None
    same: list[ImageRecord] = []
    by_digest: list[ImageRecord] | None = []
    for record in records:
        reference = None if is_dangling(record) else Reference.parse_canonical(record.name)
        if reference is None or (every_tag and named and reference.name == named.name):
            same.append(record)
        elif named is None:
            named, tag = reference, reference.tag
            same.append(record)
        elif reference.name != named.name:
            continue
        elif reference.tag is None:
            by_digest = by_digest if by_digest is None else [*by_digest, record]
        elif tag in (None, reference.tag):
            tag = reference.tag
            same.append(record)
        else:
            by_digest = None
    return same + (by_digest or [])
