"""The images of the store, one entry per target, newest first.

Source: moby daemon/containerd/image_list.go (Images, imageSummary, singlePlatformImage).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from stowage.services.engine import Engine
from stowage.services.filters import Filters
from stowage.services.metadata.records import NEWEST, ImageRecord, Order, Selection, Target
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import (
    ManifestSummary,
    any_platform,
    platform_not_found,
    read_manifests,
    summarize,
    summarize_manifests,
    with_sizes,
)
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import name_forms
from stowage.services.store.image_filters import ImageFilter
from stowage.services.store.resolve import familiar_name, is_dangling, resolve_image

ACCEPTED_FILTERS = frozenset({"dangling", "label", "label!", "before", "since", "reference", "until"})

UNKNOWN = -1
"""A count or size that was not requested, or cannot be known."""

_PAGE = 500

_entries: dict[bool, WeakKeyDictionary[Target, ListedImage]] = {False: WeakKeyDictionary(), True: WeakKeyDictionary()}
"""The entries of targets that are in use, or kept by the metadata store, without and with the last of their shared sizes."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ListedImage:
    """An entry. `created` in seconds since 1970, sizes in bytes, `labels` as JSON.

    `labels` is None and `containers` UNKNOWN if no platform can be shown. `repositories` are the full names of those that its target was
    pulled from or pushed to, if requested.
    """

    descriptor: Descriptor
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    created: int
    labels: str | None
    size: int
    containers: int
    shared_size: int = UNKNOWN
    manifests: tuple[ManifestSummary, ...] = ()
    repositories: tuple[str, ...] = ()

    @property
    def id(self) -> Digest:
        return self.descriptor.digest


def list_images(
    engine: Engine, *, filters: Filters, shared_size: bool = False, manifests: bool = False, identity: bool = False
) -> Iterator[ListedImage]:
    """The images that pass every filter; an entry's tags are those that pass.

    Which images there are is read at once, and the entries a page at a time, as they are requested: each is as it is then, and one that
    was deleted meanwhile is left out. Without manifests and identity, recent entries are the same objects until their image changes.
    Raises InvalidParameter for filters that make no sense, and ImageNotFound if the image of `before` or `since` does not exist.
    """
    image_filter, ids = find_images(engine, filters)
    return read_images(engine, image_filter, ids, shared_size=shared_size, manifests=manifests, identity=identity)


def find_images(engine: Engine, filters: Filters, order: Order = NEWEST, *, part: str = "") -> tuple[ImageFilter, array[int]]:
    """The filter and the ids of the images that pass it, with a name that contains `part`, for `read_images`. Raises as `list_images`."""
    filters.validate(ACCEPTED_FILTERS)
    image_filter = ImageFilter.parse(filters, engine.clock(), part=part)
    with engine.metadata.read() as tx:
        selection = _select_by_age(tx, engine, filters, image_filter.selection)
        image_filter = replace(image_filter, selection=selection)
        return image_filter, image_filter.find(tx, order)


def read_images(
    engine: Engine,
    image_filter: ImageFilter,
    ids: array[int],
    *,
    shared_size: bool = False,
    manifests: bool = False,
    identity: bool = False,
) -> Iterator[ListedImage]:
    """The entries of these ids in their order, those that still pass the filter; read a page at a time, but for their shared sizes."""
    shared: Mapping[int, int] | None = None
    if shared_size:
        with engine.metadata.read() as tx:
            shared = tx.usage.shared(ids)
    for start in range(0, len(ids), _PAGE):
        with engine.metadata.read() as tx:
            pages = list(tx.targets.batches(ids[start : start + _PAGE]))
        for page in pages:
            with engine.metadata.read() as tx:
                targets = image_filter.read(tx, page)
                entries = [_entry(target, UNKNOWN if shared is None else shared.get(target.id, 0)) for target in targets]
                if manifests:
                    entries = _with_manifests(tx, entries)
                if identity:
                    entries = _with_repositories(tx, entries)
            yield from entries


def _entry(target: Target, shared: int) -> ListedImage:
    """The same target has the same entry, which is kept as long."""
    kept = _entries[shared != UNKNOWN]
    entry = kept.get(target)
    if entry is None or entry.shared_size != shared:
        entry = kept[target] = _make_entry(target, shared)
    return entry


def _make_entry(target: Target, shared: int) -> ListedImage:
    """The entry of one target, described by the last of its records that is a name."""
    named = [record for record in target.records if not is_dangling(record)]
    descriptor = (named or target.records)[-1].target
    names = [name_forms(record.name) for record in named]
    tags = tuple(familiar for familiar, *_ in names)
    if not target.is_known:
        return ListedImage(descriptor, tags, (str(descriptor.digest),), 0, None, target.size, UNKNOWN, shared)
    digests = tuple(f"{repository}@{descriptor.digest}" for _, repository, *_ in names[-1:])
    return ListedImage(descriptor, tags, digests, target.created, target.labels or "{}", target.size, 0, shared)


def _with_manifests(tx: Transaction, entries: list[ListedImage]) -> list[ListedImage]:
    present = tx.graph.listed(entry.id for entry in entries)
    listed = [summarize_manifests(entry.descriptor, present) for entry in entries]
    sizes = tx.graph.content_sizes({each.descriptor.digest for manifests in listed for each in manifests if each.available})
    return [replace(entry, manifests=with_sizes(manifests, sizes)) for entry, manifests in zip(entries, listed, strict=True)]


def _with_repositories(tx: Transaction, entries: list[ListedImage]) -> list[ListedImage]:
    names = tx.sources.names(entry.id for entry in entries)
    return [replace(entry, repositories=tuple(names.get(entry.id, ()))) for entry in entries]


def _select_by_age(tx: Transaction, engine: Engine, filters: Filters, selection: Selection) -> Selection:
    """Add the conditions of `before` and `since`: created before, or after, another image."""
    created: dict[Digest, int | None] = {}
    pivots = {name: [_created_of(tx, engine, value, created) for value in filters.get(name)] for name in ("before", "since")}
    before = [moment for moment in pivots["before"] if moment is not None]
    after = [moment for moment in pivots["since"] if moment is not None]
    return replace(selection, created_before=min(before, default=None), created_after=max(after, default=None))


def _created_of(tx: Transaction, engine: Engine, name: str, known: dict[Digest, int | None]) -> int | None:
    """When the image with this name was created, in nanoseconds since 1970; it is looked up once for all names of a target."""
    record = resolve_image(tx, name)
    if record.target.digest not in known:
        known[record.target.digest] = _read_created(tx, engine, record)
    return known[record.target.digest]


def _read_created(tx: Transaction, engine: Engine, record: ImageRecord) -> int | None:
    image = summarize(record, read_manifests(tx, record.target.digest))
    best = image.best_present(any_platform(engine.platform))
    if best is None:
        raise platform_not_found(familiar_name(record), None)
    created = best.facts.created if best.facts else None
    return created.nanoseconds if created else None
