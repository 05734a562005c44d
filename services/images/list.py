"""The images of the store, one entry per target, newest first.

Source: moby daemon/containerd/image_list.go (Images, imageSummary, singlePlatformImage).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from weakref import WeakValueDictionary

from stowage.services.engine import Engine
from stowage.services.filters import Filters
from stowage.services.metadata.records import Catalog, ImageRecord
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.oci.reference import Reference
from stowage.services.store.image_filters import Predicate, select_records
from stowage.services.store.resolve import familiar_name, is_dangling, resolve_image
from stowage.services.store.summary import (
    ImageSummary,
    ManifestSummary,
    PresentManifests,
    any_platform,
    platform_not_found,
    read_manifests,
    summarize,
    walk_present,
)

ACCEPTED_FILTERS = frozenset({"dangling", "label", "label!", "before", "since", "reference", "until"})

UNKNOWN = -1
"""A count or size that was not requested, or cannot be known."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ListedImage:
    """An entry. `created` in seconds since 1970, sizes in bytes; `labels` is None and `containers` UNKNOWN if no platform can be shown.

    `repositories` are the full names of those that its target was pulled from or pushed to, if requested.
    `made_of` is the records and manifests that it was derived from: the same ones give the same entry.
    """

    descriptor: Descriptor
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    created: int
    labels: Mapping[str, str] | None
    size: int
    containers: int
    shared_size: int = UNKNOWN
    manifests: tuple[ManifestSummary, ...] = ()
    made_of: tuple[object, ...] = ()
    repositories: tuple[str, ...] = ()

    @property
    def id(self) -> Digest:
        return self.descriptor.digest


def list_images(
    engine: Engine, *, filters: Filters, shared_size: bool = False, manifests: bool = False, identity: bool = False
) -> list[ListedImage]:
    """The images that pass every filter; an entry's tags are those that pass.

    Without filters an entry is the same object until its image changes. Raises InvalidParameter for filters that make no sense, and
    ImageNotFound if the image of `before` or `since` does not exist.
    """
    filters.validate(ACCEPTED_FILTERS)
    catalog = engine.metadata.catalog()
    if filters.fields:
        predicates = _select_by_age(engine, catalog.manifests, filters)
        predicates += select_records(filters, catalog.manifests, engine.clock())
        records = [record for record in catalog.images if all(passes(record) for passes in predicates)]
        listed = _list_records(records, catalog.manifests, engine.platform, manifests)
    else:
        listed = _list_all(catalog, engine.platform, manifests)
    shown = _with_shared_sizes(engine, listed) if shared_size else list(listed)
    return _with_repositories(engine, shown) if identity else shown


@lru_cache(maxsize=4)
def _list_all(catalog: Catalog, preferred: Platform, manifests: bool) -> tuple[ListedImage, ...]:
    return _list_records(catalog.images, catalog.manifests, preferred, manifests)


def _list_records(
    records: Iterable[ImageRecord], present: PresentManifests, preferred: Platform, manifests: bool
) -> tuple[ListedImage, ...]:
    matcher, known = any_platform(preferred), _living_entries(preferred, manifests)
    listed: list[ListedImage] = []
    for target, named in _group_by_target(records).items():
        made_of = (*named, *map(present.__getitem__, walk_present(target, present)))
        entry = known.get(target)
        if entry is None or entry.made_of != made_of:
            entry = known[target] = _entry(named, present, matcher, manifests, made_of)
        listed.append(entry)
    return tuple(sorted(listed, key=operator.attrgetter("created"), reverse=True))


@cache
def _living_entries(_preferred: Platform, _manifests: bool) -> WeakValueDictionary[Digest, ListedImage]:
    """By target, the entries of lists still in use, such as that of the previous catalog: a change leaves most of them as they are."""
    return WeakValueDictionary()


def _group_by_target(records: Iterable[ImageRecord]) -> dict[Digest, list[ImageRecord]]:
    groups: dict[Digest, list[ImageRecord]] = {}
    for record in records:
        groups.setdefault(record.target.digest, []).append(record)
    return groups


def _entry(
    records: list[ImageRecord], present: PresentManifests, matcher: PlatformMatcher, manifests: bool, made_of: tuple[object, ...]
) -> ListedImage:
    """The entry of one target, described by the last of its records that is a name."""
    named = [record for record in records if not is_dangling(record)]
    references = [Reference.parse_canonical(record.name) for record in named]
    image = summarize((named or records)[-1], present)
    target = image.record.target
    tags = tuple(reference.familiar for reference in references)
    shown = image.manifests if manifests else ()
    best = image.best(matcher)
    if best is None:
        return ListedImage(target, tags, (str(target.digest),), 0, None, image.size, UNKNOWN, UNKNOWN, shown, made_of)
    digests = tuple(f"{reference.familiar_name}@{target.digest}" for reference in references[-1:])
    created = best.facts.created.unix if best.facts and best.facts.created else 0
    labels = (best.facts and best.facts.labels) or {}
    return ListedImage(target, tags, digests, created, labels, image.size, 0, UNKNOWN, shown, made_of)


def _with_shared_sizes(engine: Engine, listed: tuple[ListedImage, ...]) -> list[ListedImage]:
    with engine.metadata.read() as tx:
        sizes = tx.graph.shared_sizes([entry.descriptor.digest for entry in listed])
    return [replace(entry, shared_size=sizes.get(entry.descriptor.digest, 0)) for entry in listed]


def _with_repositories(engine: Engine, listed: list[ListedImage]) -> list[ListedImage]:
    with engine.metadata.read() as tx:
        names = tx.sources.names(entry.descriptor.digest for entry in listed)
    return [replace(entry, repositories=tuple(names.get(entry.descriptor.digest, ()))) for entry in listed]


def _select_by_age(engine: Engine, present: PresentManifests, filters: Filters) -> list[Predicate]:
    """The predicates of `before` and `since`: created before, or after, another image."""
    matcher = any_platform(engine.platform)
    predicates: list[Predicate] = []
    for name, compare in (("before", operator.lt), ("since", operator.gt)):
        for value in filters.get(name):
            pivot = _created_of(engine, value, matcher)
            if pivot is not None:
                predicates.append(_aged(present, matcher, compare, pivot))
    return predicates


def _aged(present: PresentManifests, matcher: PlatformMatcher, compare: Callable[[int, int], bool], pivot: int) -> Predicate:
    def aged(record: ImageRecord) -> bool:
        created = _created(summarize(record, present), matcher)
        return created is not None and compare(created, pivot)

    return aged


def _created_of(engine: Engine, name: str, matcher: PlatformMatcher) -> int | None:
    """When the image with this name was created, in nanoseconds since 1970."""
    with engine.metadata.read() as tx:
        record = resolve_image(tx, name)
        image = summarize(record, read_manifests(tx, record.target.digest))
    if image.best_present(matcher) is None:
        raise platform_not_found(familiar_name(record), None)
    return _created(image, matcher)


def _created(image: ImageSummary, matcher: PlatformMatcher) -> int | None:
    best = image.best_present(matcher)
    created = best.facts.created if best and best.facts else None
    return created.nanoseconds if created else None
