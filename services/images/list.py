"""The images of the store, one entry per target, newest first.

Source: moby daemon/containerd/image_list.go (Images, imageSummary, singlePlatformImage).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from services.engine import Engine
from services.filters import Filters
from services.images.resolve import familiar_name, is_dangling, resolve_image
from services.images.selection import Predicate, select_records
from services.images.summary import Facts, ImageSummary, ManifestSummary, any_platform, platform_not_found, read_facts, summarize
from services.metadata.protocol import Catalog, ImageRecord
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.oci.platform import Platform, PlatformMatcher
from services.oci.reference import Reference

ACCEPTED_FILTERS = frozenset({"dangling", "label", "label!", "before", "since", "reference", "until"})

UNKNOWN = -1
"""A count or size that was not asked for, or that nothing can tell."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ListedImage:
    """An entry. `created` in seconds since 1970, sizes in bytes; `labels` is None and `containers` UNKNOWN where no platform can be shown."""

    descriptor: Descriptor
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    created: int
    labels: Mapping[str, str] | None
    size: int
    containers: int
    shared_size: int = UNKNOWN
    manifests: tuple[ManifestSummary, ...] = ()

    @property
    def id(self) -> Digest:
        return self.descriptor.digest


def list_images(engine: Engine, *, filters: Filters, shared_size: bool = False, manifests: bool = False) -> list[ListedImage]:
    """The images that pass every filter; an entry's tags are those that pass.

    Without filters the entries are the same objects until the store changes. Raises InvalidParameter for filters that make no sense, and
    ImageNotFound for `before` or `since` an image that is not there.
    """
    filters.validate(ACCEPTED_FILTERS)
    catalog = engine.metadata.catalog()
    if filters.fields:
        predicates = _select_by_age(engine, catalog.manifests, filters)
        predicates += select_records(filters, catalog.manifests, engine.clock())
        records = tuple(record for record in catalog.images if all(passes(record) for passes in predicates))
        listed = _list_records(records, catalog.manifests, engine.platform, manifests)
    else:
        listed = _list_all(catalog, engine.platform, manifests)
    return _with_shared_sizes(engine, listed) if shared_size else list(listed)


@lru_cache(maxsize=4)
def _list_all(catalog: Catalog, preferred: Platform, manifests: bool) -> tuple[ListedImage, ...]:
    return _list_records(catalog.images, catalog.manifests, preferred, manifests)


def _list_records(records: tuple[ImageRecord, ...], facts: Facts, preferred: Platform, manifests: bool) -> tuple[ListedImage, ...]:
    matcher = any_platform(preferred)
    entries = [_entry(summarize(named.record, facts), named, matcher, manifests) for named in _group_by_target(records)]
    return tuple(sorted(entries, key=lambda entry: entry.created, reverse=True))


@dataclass(slots=True)
class _Named:
    """The record that stands for a target, the last named one where there is one; the familiar names of all, and its name with the digest."""

    record: ImageRecord
    tags: list[str] = field(default_factory=list)
    digests: tuple[str, ...] = ()


def _group_by_target(records: tuple[ImageRecord, ...]) -> Iterable[_Named]:
    found: dict[Digest, _Named] = {}
    for record in records:
        named = found.setdefault(record.target.digest, _Named(record))
        if not is_dangling(record):
            reference = Reference.parse_canonical(record.name)
            named.record = record
            named.tags.append(reference.familiar)
            named.digests = (f"{reference.familiar_name}@{record.target.digest}",)
    return found.values()


def _entry(image: ImageSummary, named: _Named, matcher: PlatformMatcher, manifests: bool) -> ListedImage:
    target = image.record.target
    tags = tuple(named.tags)
    best = image.best(matcher)
    shown = image.manifests if manifests else ()
    if best is None:
        return ListedImage(target, tags, (str(target.digest),), 0, None, image.size, UNKNOWN, manifests=shown)
    created = best.facts.created.unix if best.facts and best.facts.created else 0
    labels = (best.facts and best.facts.labels) or {}
    return ListedImage(target, tags, named.digests, created, labels, image.size, 0, manifests=shown)


def _with_shared_sizes(engine: Engine, listed: tuple[ListedImage, ...]) -> list[ListedImage]:
    with engine.metadata.read() as tx:
        sizes = tx.graph.shared_sizes([entry.descriptor.digest for entry in listed])
    return [replace(entry, shared_size=sizes.get(entry.descriptor.digest, 0)) for entry in listed]


def _select_by_age(engine: Engine, facts: Facts, filters: Filters) -> list[Predicate]:
    """The predicates of `before` and `since`: created before, or after, another image."""
    matcher = any_platform(engine.platform)
    predicates: list[Predicate] = []
    for name, compare in (("before", operator.lt), ("since", operator.gt)):
        for value in filters.get(name):
            pivot = _created_of(engine, value, matcher)
            if pivot is not None:
                predicates.append(_aged(facts, matcher, compare, pivot))
    return predicates


def _aged(facts: Facts, matcher: PlatformMatcher, compare: Callable[[int, int], bool], pivot: int) -> Predicate:
    def aged(record: ImageRecord) -> bool:
        created = _created(summarize(record, facts), matcher)
        return created is not None and compare(created, pivot)

    return aged


def _created_of(engine: Engine, name: str, matcher: PlatformMatcher) -> int | None:
    """When the image of this name was created, in nanoseconds since 1970."""
    with engine.metadata.read() as tx:
        record = resolve_image(tx, name)
        image = summarize(record, read_facts(tx, record.target.digest))
    if image.best_present(matcher) is None:
        raise platform_not_found(familiar_name(record), None)
    return _created(image, matcher)


def _created(image: ImageSummary, matcher: PlatformMatcher) -> int | None:
    best = image.best_present(matcher)
    created = best.facts.created if best and best.facts else None
    return created.nanoseconds if created else None
