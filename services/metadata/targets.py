"""Derives `target`, `target_label` and `reach` from the other tables, for lists of targets (a target is an image by its digest).

A target gets its rows in the transaction that gives it a name, and loses them with its last one. What is added or removed below it changes
them in the same transaction: `reach` has the targets above anything, also above absent blobs. Images share no row
here, so a change of one never writes the rows of others.

What lists show depends on the platform that they prefer, `store.platform`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from sqlalchemy import BigInteger, BindParameter, Connection, bindparam, case, cast, delete, func, insert, select, update

from stowage.services.errors import InvalidContent
from stowage.services.metadata import tables
from stowage.services.metadata.column_types import bounded
from stowage.services.metadata.facts import DANGLING, NO_DANGLING, read_listed
from stowage.services.metadata.labels import LabelHashes, weigh_labels
from stowage.services.metadata.reach import DIGESTS, read_links, require_few, walk
from stowage.services.metadata.records import Kind, ManifestDocument
from stowage.services.metadata.rows import in_chunks, load_descriptor, load_platform
from stowage.services.metadata.summary import any_platform, best_image, best_present, summarize_manifests, walk_listed
from stowage.services.oci.descriptor import Descriptor, is_reference
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import PlatformMatcher

MAX_CHANGED = 200_000
"""How many descriptors all images together may have whose missing manifest is stored: each of them is read again, in one transaction."""

_AT_ONCE = 50
"""How many targets are described at once: each may have MAX_DESCRIPTORS."""

_CHILD_WEIGHT = 100
"""The weight of what an index lists, besides its texts."""

_row, _label, _reach, _blob = tables.target, tables.target_label, tables.reach, tables.blob
_is_name = (tables.image.c.name < DANGLING) | (tables.image.c.name >= NO_DANGLING)
_names = (
    select(
        tables.image.c.target,
        func.min(tables.image.c.name).label("first"),
        func.max(case((_is_name, tables.image.c.name))).label("last"),
    )
    .where(tables.image.c.target.in_(DIGESTS))
    .group_by(tables.image.c.target)
    .subquery()
)
_NAMES = select(_names.c.first, tables.image.c.descriptor, select(tables.store.c.platform).scalar_subquery()).join(
    tables.image, tables.image.c.name == func.coalesce(_names.c.last, _names.c.first)
)
_ids: BindParameter[list[int]] = bindparam("ids", expanding=True)
_ROWS = select(_row).where(_row.c.digest.in_(DIGESTS))
_INSERT = insert(_row).returning(_row.c.id, _row.c.digest)
_LABELS = select(_label.c.target, _label.c.hash, _label.c.everywhere).where(_label.c.target.in_(_ids))
_REACHED = select(_reach.c.digest).where(_reach.c.target == bindparam("target"))
_ABOVE = select(_row.c.digest, _row.c.id).where(_row.c.id.in_(select(_reach.c.target).where(_reach.c.digest.in_(DIGESTS))))
_DESCRIPTORS = select(func.count()).select_from(_reach).where(_reach.c.target.in_(_ids))
_IN_USE = select(_reach.c.digest).where(_reach.c.digest.in_(DIGESTS)).distinct()
_GROW = (
    update(_row)
    .where(_row.c.id.in_(select(_reach.c.target).where(_reach.c.digest == bindparam("of"))))
    .values(size=_row.c.size + bindparam("more"))
)
# An outer join keeps SQLite from reading all blobs first.
_size = (
    select(cast(func.coalesce(func.sum(_blob.c.size), 0), BigInteger))
    .select_from(_reach.outerjoin(_blob, _blob.c.digest == _reach.c.digest))
    .where(_reach.c.target == _row.c.id)
    .scalar_subquery()
)
_SIZES = select(_row.c.id, _size).where(_row.c.id.in_(_ids))
_SET_SIZES = update(_row).where(_row.c.id.in_(_ids)).values(size=_size)


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """The row of a target, for lists.

    `first_name` and `created`, in seconds since 1970, are its place in a list, newest first. `shown` is the digest of the manifest that a
    list describes it by, if there is one (`is_known`) and it is present. `age` is the time that the filters `before` and
    `since` compare, in nanoseconds since 1970, limited to 64 bits. `labels` has the hash of each label, and of each key; the value is
    whether all present platforms have it. `weight` is about how many bytes the labels of all present platforms have, and what its indexes
    list.
    """

    digest: str
    first_name: str
    created: int
    shown: str | None
    is_known: bool
    age: int | None
    weight: int
    labels: Mapping[int, bool]

    def columns(self) -> dict[str, Any]:
        """Its row, without the id and the size."""
        columns = ("digest", "first_name", "created", "shown", "is_known", "age", "weight")
        return {column: getattr(self, column) for column in columns}


def describe_targets(connection: Connection, digests: Iterable[str]) -> Iterator[TargetFacts]:
    """What the other tables say of those of these digests that are targets."""
    for chunk in in_chunks(digests, _AT_ONCE):
        names = connection.execute(_NAMES, {"digests": chunk}).all()
        targets = {first: load_descriptor(descriptor) for first, descriptor, _ in names}
        manifests = read_listed(connection, (str(target.digest) for target in targets.values()))
        hashes = cache(lambda digest, manifests=manifests: LabelHashes.of(manifests[digest].labels or {}))
        for first, target in targets.items():
            if target.digest in manifests:  # unless the database is damaged
                yield _describe(first, target, manifests, _matcher(names[0][2]), hashes)


def _describe(
    first_name: str,
    target: Descriptor,
    manifests: Mapping[Digest, ManifestDocument],
    matcher: PlatformMatcher,
    hashes: Callable[[Digest], LabelHashes],
) -> TargetFacts:
    summaries = summarize_manifests(target, manifests)
    best, present = best_image(summaries, matcher), best_present(summaries, matcher)
    shown, dated = best and best.facts, present and present.facts
    platforms = {
        each.facts.digest: each.facts.labels or {}
        for each in summaries
        if each.facts and each.facts.kind is Kind.IMAGE and not is_reference(each.descriptor)
    }
    listed = sum(_CHILD_WEIGHT + child.text_size for child in islice(walk_listed(target, manifests), 1, None))
    return TargetFacts(
        digest=str(target.digest),
        first_name=first_name,
        created=shown.created.unix if shown and shown.created else 0,
        shown=str(shown.digest) if shown else None,
        is_known=best is not None,
        age=bounded(dated.created.nanoseconds) if dated and dated.created else None,
        weight=bounded(listed + sum(map(weigh_labels, platforms.values()))),
        labels=LabelHashes.together(list(map(hashes, platforms))).columns() if platforms else {},
    )


def _matcher(stored: str | None) -> PlatformMatcher:
    """Prefers the platform of the store."""
    platform = load_platform(stored)
    assert platform is not None, "the store has a platform once it is upgraded"
    return any_platform(platform)


class Upkeep:
    """The upkeep of one write transaction.

    `touch`, `extend` and `resize` tell it of changes; `flush` makes the rows of targets right, before they are read and at the end.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._touched: set[str] = set()
        self._extended: dict[str, bool] = {}
        self._resized: dict[str, int] = defaultdict(int)

    def touch(self, digests: Iterable[Digest]) -> None:
        """Note that names of these digests change."""
        self._touched |= {str(digest) for digest in digests}

    def extend(self, manifests: Iterable[Digest], *, limited: bool = True) -> None:
        """Note that what these manifests list changes, for the targets above them. If it is more, these are `limited`."""
        self._extended |= {str(digest): limited for digest in manifests}

    def resize(self, changes: Mapping[Digest, int]) -> None:
        """Note that present blobs get so many bytes more, since they are added, removed or found to have another size."""
        for digest, more in changes.items():
            self._resized[str(digest)] += more

    def flush(self) -> None:
        """Add, change or remove the rows of targets. Raises InvalidContent if one gets too large, or if those whose missing manifest is
        stored are too large together.
        """
        limited = any(self._extended.values())
        extended = self._find_changed()
        touched, self._touched = self._touched - extended, set()
        if touched:
            update_targets(self._connection, touched, ())
        if extended:
            update_targets(self._connection, extended, extended, limited=limited)

    def _find_changed(self) -> set[str]:
        """Resize the targets above what was resized; returns those above what was extended."""
        extended, self._extended = self._extended, {}
        resized, self._resized = self._resized, defaultdict(int)
        used = {each for chunk in in_chunks({*extended, *resized}) for each in self._connection.scalars(_IN_USE, {"digests": chunk})}
        if rows := [{"of": digest, "more": resized[digest]} for digest in used & resized.keys()]:
            self._connection.execute(_GROW, rows)
        above: dict[str, int] = {}
        for chunk in in_chunks(used & extended.keys()):
            above |= dict(map(tuple, self._connection.execute(_ABOVE, {"digests": chunk})))
        if len(above) > 1 and any(extended.values()) and self._descriptors(above.values()) > MAX_CHANGED:
            raise InvalidContent(f"the images that list a missing manifest have more than {MAX_CHANGED} descriptors together")
        return set(above)

    def _descriptors(self, ids: Iterable[int]) -> int:
        found, waiting = 0, iter(ids)
        while found <= MAX_CHANGED and (chunk := list(islice(waiting, _AT_ONCE))):
            found += self._connection.scalar(_DESCRIPTORS, {"ids": chunk}) or 0
        return found


def update_targets(connection: Connection, digests: Iterable[str], extended: Collection[str], *, limited: bool = True) -> None:
    """Make the rows of these digests right, whether they are targets or not. What they reach is read if they are new or `extended`, and
    with `limited` must not be too much (InvalidContent).
    """
    for chunk in in_chunks(digests, _AT_ONCE):
        rows = {row["digest"]: dict(row) for row in connection.execute(_ROWS, {"digests": chunk}).mappings()}
        facts = list(describe_targets(connection, chunk))
        ids = _store(connection, facts, rows)
        _store_labels(connection, facts, ids, rows.keys())
        _store_reach(connection, {each: ids[each] for each in ids if each in extended or each not in rows}, rows.keys(), limited=limited)
        _remove(connection, [row["id"] for digest, row in rows.items() if digest not in ids])


def read_labels(connection: Connection, ids: Collection[int]) -> dict[int, dict[int, bool]]:
    """The labels of each of these ids that has any, as `TargetFacts.labels`; there are at most CHUNK ids."""
    found: dict[int, dict[int, bool]] = {}
    for target, hashed, everywhere in connection.execute(_LABELS, {"ids": list(ids)}) if ids else ():
        found.setdefault(target, {})[hashed] = everywhere
    return found


def read_reach(connection: Connection, identifier: int) -> set[str]:
    """What the rows say that a target reaches."""
    return set(connection.scalars(_REACHED, {"target": identifier}))


def read_sizes(connection: Connection, ids: Collection[int]) -> dict[int, int]:
    """The bytes of what is present of what these ids reach; there are at most CHUNK."""
    return dict(map(tuple, connection.execute(_SIZES, {"ids": list(ids)}))) if ids else {}


def _store(connection: Connection, facts: list[TargetFacts], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Insert the rows of these facts, or update those that differ; returns their ids."""
    ids = {each.digest: rows[each.digest]["id"] for each in facts if each.digest in rows}
    if new := [each.columns() for each in facts if each.digest not in rows]:
        ids |= {digest: identifier for identifier, digest in connection.execute(_INSERT, new)}
        _count(connection, len(new))
    for each in facts:
        if each.digest in rows and any(rows[each.digest][column] != value for column, value in each.columns().items()):
            connection.execute(update(_row).where(_row.c.digest == each.digest).values(each.columns()))
    return ids


def _store_labels(connection: Connection, facts: Collection[TargetFacts], ids: Mapping[str, int], known: Collection[str]) -> None:
    stored = read_labels(connection, [ids[each.digest] for each in facts if each.digest in known])
    changed = [each for each in facts if stored.get(ids[each.digest], {}) != each.labels]
    if stale := [ids[each.digest] for each in changed if ids[each.digest] in stored]:
        connection.execute(delete(_label).where(_label.c.target.in_(stale)))
    rows = [
        {"hash": hashed, "target": ids[each.digest], "everywhere": everywhere}
        for each in changed
        for hashed, everywhere in each.labels.items()
    ]
    if rows:
        connection.execute(insert(_label), rows)


def _store_reach(connection: Connection, targets: Mapping[str, int], known: Collection[str], *, limited: bool) -> None:
    """Write what these targets reach, of which some are known, and the bytes of what is present of it."""
    if not targets:
        return
    links = read_links(connection, targets)
    for digest, identifier in targets.items():
        if limited:
            require_few(digest, links)
        found, stored = walk(digest, links), read_reach(connection, identifier) if digest in known else set[str]()
        for chunk in in_chunks(stored - found):
            connection.execute(delete(_reach).where(_reach.c.target == identifier, _reach.c.digest.in_(chunk)))
        if new := [{"target": identifier, "digest": each} for each in sorted(found - stored)]:
            connection.execute(insert(_reach), new)
    connection.execute(_SET_SIZES, {"ids": list(targets.values())})


def _remove(connection: Connection, ids: Collection[int]) -> None:
    if ids:
        connection.execute(delete(_label).where(_label.c.target.in_(ids)))
        connection.execute(delete(_reach).where(_reach.c.target.in_(ids)))
        connection.execute(delete(_row).where(_row.c.id.in_(ids)))
        _count(connection, -len(ids))


def _count(connection: Connection, more: int) -> None:
    connection.execute(update(tables.store).values(images=tables.store.c.images + more))
