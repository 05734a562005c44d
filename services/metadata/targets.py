"""The rows of `target` and `target_label`: what lists need of each target (an image by its digest), derived from its manifests.

They depend on the platform that lists prefer, `store.platform`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, update

from stowage.services.metadata import tables
from stowage.services.metadata.column_types import bounded
from stowage.services.metadata.facts import DANGLING, NO_DANGLING, read_listed
from stowage.services.metadata.listed import Part, Parts
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.records import ManifestFacts
from stowage.services.metadata.rows import CHUNK, in_chunks, load_descriptor, load_platform
from stowage.services.metadata.summary import any_platform
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import PlatformMatcher

_FEW = 20

NOTHING: Mapping[str, int] = {}
NONE: Mapping[Digest, ManifestFacts] = {}

_row, _label = tables.target, tables.target_label
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
_ROWS = select(_row).where(_row.c.digest.in_(DIGESTS))
_INSERT = insert(_row).returning(_row.c.id, _row.c.digest)
_LABELS = select(_label.c.target, _label.c.hash, _label.c.everywhere).where(_label.c.target.in_(bindparam("targets", expanding=True)))


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What the database has of a target.

    `first_name` and `created`, in seconds since 1970, are its place in a list, newest first. `shown` is the digest of the manifest that a
    list describes it by, if there is one (`is_known`) and it is present. `age` is the time that the filters `before` and
    `since` compare, in nanoseconds since 1970, limited to 64 bits. `labels` has the hash of each label, and of each key; the value is
    whether all present platforms have it. `weight` is about how many bytes the labels of all present platforms have, and what its indexes
    list. `size` is the bytes of its present content.
    """

    digest: str
    first_name: str
    created: int
    shown: str | None
    is_known: bool
    age: int | None
    weight: int
    size: int
    labels: Mapping[int, bool]

    def columns(self) -> dict[str, Any]:
        """Its row, without the id and the shared bytes."""
        columns = ("digest", "first_name", "created", "shown", "is_known", "age", "weight", "size")
        return {column: getattr(self, column) for column in columns} | {"outdated": False}


def _matcher(stored: str | None) -> PlatformMatcher:
    """Prefers the platform of the store."""
    platform = load_platform(stored)
    assert platform is not None, "the store has a platform once it is upgraded"
    return any_platform(platform)


@dataclass(slots=True)
class Room:
    """How many links may still be followed, and labels read."""

    links: int


def derive(
    connection: Connection, digests: Iterable[str], known: Mapping[Digest, ManifestFacts] = NONE, *, room: Room | None = None
) -> Iterator[TargetFacts]:
    """Derive the facts of those of these digests that are targets from the other tables; what `read_listed` has found is `known`.

    With a room, a few of them at a time, as long as there is some; what is followed is taken from it.
    """
    manifests = dict(known)
    parts: Parts | None = None
    for chunk in in_chunks(digests, _FEW if room else CHUNK):
        targets = {}
        for first, descriptor, platform in connection.execute(_NAMES, {"digests": chunk}).all():
            targets[first] = load_descriptor(descriptor)
            parts = parts or Parts(manifests, _matcher(platform))
        new = read_listed(connection, {str(target.digest) for target in targets.values()}, manifests)
        manifests |= new
        for first, target in targets.items():
            if parts and target.digest in manifests:  # unless the database is damaged
                yield _derive(first, target, manifests[target.digest].content_size, parts.of(target))
        if room:
            room.links -= sum(1 + len(facts.edges) + len(facts.labels or ()) for facts in new.values())
            if room.links <= 0:
                break


def _derive(first_name: str, target: Descriptor, size: int, part: Part) -> TargetFacts:
    facts = part.best and part.best.facts
    created = part.best_present.facts.created if part.best_present and part.best_present.facts else None
    return TargetFacts(
        digest=str(target.digest),
        first_name=first_name,
        created=facts.created.unix if facts and facts.created else 0,
        shown=str(facts.digest) if facts else None,
        is_known=part.best is not None,
        age=bounded(created.nanoseconds) if created else None,
        weight=bounded(part.weight),
        size=size,
        labels=part.labels.columns() if part.labels else {},
    )


class TargetRows:
    """The rows of `target` and `target_label`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ids(self, digests: Iterable[str]) -> dict[str, int]:
        """The ids of those digests that have a row."""
        return {digest: row["id"] for digest, row in self.read(digests).items()}

    def read(self, digests: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """The rows of those digests that have one."""
        found = (row for chunk in in_chunks(digests) for row in self._connection.execute(_ROWS, {"digests": chunk}).mappings())
        return {row["digest"]: dict(row) for row in found}

    def store(self, facts: Sequence[TargetFacts], rows: Mapping[str, Mapping[str, Any]], shared: Mapping[str, int] = NOTHING) -> None:
        """Insert rows with their labels and these shared bytes, or update those of these `rows` that differ, but not their shared bytes."""
        ids = {digest: row["id"] for digest, row in rows.items()}
        if new := [each.columns() | {"shared": shared.get(each.digest, 0)} for each in facts if each.digest not in rows]:
            ids |= {digest: identifier for identifier, digest in self._connection.execute(_INSERT, new)}
            self._count(len(new))
        for each in facts:
            if each.digest in rows and any(rows[each.digest][column] != value for column, value in each.columns().items()):
                self._connection.execute(update(_row).where(_row.c.digest == each.digest).values(each.columns()))
        for start in range(0, len(facts), CHUNK):
            self._store_labels(facts[start : start + CHUNK], ids, rows.keys())

    def remove(self, digests: Iterable[str]) -> None:
        """Delete these rows and their labels."""
        for chunk in in_chunks(digests):
            ids = list(self.ids(chunk).values())
            self._connection.execute(delete(_label).where(_label.c.target.in_(ids)))
            self._connection.execute(delete(_row).where(_row.c.id.in_(ids)))
            self._count(-len(ids))

    def labels(self, ids: Collection[int]) -> dict[int, dict[int, bool]]:
        """The labels of each of these ids that has any, as `TargetFacts.labels`; there are at most CHUNK ids."""
        found: dict[int, dict[int, bool]] = {}
        for target, hashed, everywhere in self._connection.execute(_LABELS, {"targets": list(ids)}) if ids else ():
            found.setdefault(target, {})[hashed] = everywhere
        return found

    def _store_labels(self, facts: Collection[TargetFacts], ids: Mapping[str, int], known: AbstractSet[str]) -> None:
        stored = self.labels([ids[each.digest] for each in facts if each.digest in known])
        changed = [each for each in facts if stored.get(ids[each.digest], {}) != each.labels]
        if stale := [ids[each.digest] for each in changed if ids[each.digest] in stored]:
            self._connection.execute(delete(_label).where(_label.c.target.in_(stale)))
        rows = [
            {"hash": hashed, "target": ids[each.digest], "everywhere": everywhere}
            for each in changed
            for hashed, everywhere in each.labels.items()
        ]
        if rows:
            self._connection.execute(insert(_label), rows)

    def _count(self, more: int) -> None:
        self._connection.execute(update(tables.store).values(images=tables.store.c.images + more))
