"""Targets as lists read them: found by indexes, and read a page at a time."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, case, exists, func, or_, select, union_all

from stowage.services.kept import Kept
from stowage.services.metadata import tables
from stowage.services.metadata.column_types import bounded
from stowage.services.metadata.facts import DANGLING, NO_DANGLING, RECORDS, to_record
from stowage.services.metadata.labels import MANY_LABELS
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.records import NEWEST, Order, Selection, SortKey, Target
from stowage.services.metadata.rows import CHUNK, in_chunks
from stowage.services.metadata.targets import Upkeep
from stowage.services.metadata.usage import read_shared

_BATCH_BYTES = 1 << 20
_KEPT_BYTES = 8 << 20
_TARGET_BYTES = 1500
"""Memory for a target, and again for each of its names, with the entry and its JSON that are derived from it, roughly."""

_Row = tuple[Any, ...]

_kept: Kept[tuple[_Row, tuple[_Row, ...]], Target] = Kept(_KEPT_BYTES)
_LAST = "\U0010ffff"
"""Greater than every character of a name."""
_row, _label, _reach, _image, _manifest = tables.target, tables.target_label, tables.reach, tables.image, tables.manifest
_shown = _manifest.alias("shown")

_ORDERED = select(_row.c.id).order_by(_row.c.created.desc(), _row.c.first_name)
# The same order, written so that no index has it: the planner then uses an index for the condition, instead of reading all rows in order.
_SORTED = select(_row.c.id).order_by(-_row.c.created, _row.c.first_name)
# Most targets are the manifest that describes them, which is not looked up twice.
_labels = case((_row.c.shown == _row.c.digest, _manifest.c.labels), else_=_shown.c.labels)
_is_dangling = and_(_row.c.first_name >= DANGLING, _row.c.first_name < NO_DANGLING)
_KEYS: dict[SortKey, ColumnElement[Any]] = {
    SortKey.CREATED: _row.c.created,
    SortKey.NAME: case((_is_dangling, _LAST), else_="").concat(_row.c.first_name),
    SortKey.SIZE: _row.c.size,
}
_PAGE = (
    select(_row.c.id, _row.c.digest, _row.c.is_known, _row.c.created, _row.c.size, _labels)
    .join(_manifest, _manifest.c.digest == _row.c.digest)
    .outerjoin(_shown, _shown.c.digest == func.nullif(_row.c.shown, _row.c.digest))
    .where(_row.c.id.in_(bindparam("ids", expanding=True)))
)
_WEIGHTS = select(_row.c.id, _row.c.weight).where(_row.c.id.in_(bindparam("ids", expanding=True)))
_DESCRIPTORS = select(_reach.c.target, func.count()).where(_reach.c.target.in_(bindparam("ids", expanding=True))).group_by(_reach.c.target)
_RECORDS = RECORDS.add_columns(_image.c.target).where(_image.c.target.in_(DIGESTS))


class Targets:
    """The targets of names, as lists show them."""

    def __init__(self, connection: Connection, upkeep: Upkeep) -> None:
        self._connection = connection
        self._upkeep = upkeep

    def find(self, selection: Selection, order: Order = NEWEST, *, limit: int | None = None) -> array[int]:
        """The ids of these targets, all or the first ones, in the order of a list: by default the newest first, those of the same second by
        their first name.
        """
        self._upkeep.flush()
        conditions = list(_conditions(selection))
        if order.key is SortKey.UNIQUE:
            return self._find_unique(selection.among, conditions, order)[:limit]
        if selection.among is None:
            query = _ordered(order, has_conditions=bool(conditions)).where(*conditions).limit(limit)
            return array("q", self._connection.scalars(query))
        found: list[tuple[Any, str, int]] = []
        ranked = select(_KEYS[order.key], _row.c.first_name, _row.c.id).where(_row.c.digest.in_(DIGESTS), *conditions)
        for chunk in in_chunks(selection.among):
            found += map(tuple, self._connection.execute(ranked, {"digests": chunk}))
        found.sort(key=itemgetter(1))
        found.sort(key=itemgetter(0), reverse=order.descending)
        return array("q", (identifier for _, _, identifier in found[:limit]))

    def batches(self, ids: Iterable[int]) -> Iterator[list[int]]:
        """The ids that are not gone, in this order, in lists of a few hundred whose labels have a MiB together, or of one."""
        self._upkeep.flush()
        waiting = iter(ids)
        batch: list[int] = []
        room = _BATCH_BYTES
        while page := list(islice(waiting, CHUNK)):
            weights = dict(self._connection.execute(_WEIGHTS, {"ids": page}).all())
            for each in page:
                if batch and (len(batch) == CHUNK or weights.get(each, 0) > room):
                    yield batch
                    batch, room = [], _BATCH_BYTES
                if each in weights:
                    batch.append(each)
                    room -= weights[each]
        if batch:
            yield batch

    def read(self, ids: Iterable[int]) -> list[Target]:
        """The targets with these ids, in this order, without those that are gone. Recent ones are the same objects until they change."""
        self._upkeep.flush()
        waiting = iter(ids)
        found: list[Target] = []
        while page := list(islice(waiting, CHUNK)):
            rows = {row.id: tuple(row) for row in self._connection.execute(_PAGE, {"ids": page}).all()}
            records = self._records(row[1] for row in rows.values())
            found += (_to_target(rows[each], tuple(records[rows[each][1]])) for each in page if each in rows)
        return found

    def names(self, prefixes: Iterable[str], selection: Selection, likes: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
        """Each name that begins with one of these prefixes and meets the selection's conditions for names, and its target as text.

        The prefixes do not begin with each other. With `likes`, patterns of SQL's LIKE, only names that meet one; case may be ignored.
        """
        query = select(_image.c.name, _image.c.target).where(*_name_conditions(selection))
        if likes and all("%" not in like[:-1] for like in likes):  # few match: the index has their names, and rows are read of these alone
            meant = {prefix: [like for like in likes if like.replace("\\", "").startswith(prefix)] for prefix in prefixes}
            parts = (select(_image.c.name).where(_is_between(prefix), _is_like(each)) for prefix, each in meant.items() if each)
            found = union_all(*parts).subquery()
            query = query.join(found, found.c.name == _image.c.name)
        else:
            query = query.where(or_(*map(_is_between, prefixes)), *([_is_like(likes)] if likes else []))
        for names in self._connection.execute(query).partitions(CHUNK):
            yield from names

    def descriptors(self, ids: Collection[int]) -> dict[int, int]:
        """How many digests each of these targets reaches, which is what it costs to remove; there are at most CHUNK."""
        self._upkeep.flush()
        return dict(self._connection.execute(_DESCRIPTORS, {"ids": list(ids)}).all()) if ids else {}

    def _find_unique(self, among: AbstractSet[str] | None, conditions: list[ColumnElement[bool]], order: Order) -> array[int]:
        """The ids ordered by the bytes that no other target has."""
        query = select(_row.c.first_name, _row.c.id, _row.c.size).where(*conditions)
        if among is None:
            rows = list(self._connection.execute(query))
        else:
            pages = (query.where(_row.c.digest.in_(chunk)) for chunk in in_chunks(among))
            rows = [row for page in pages for row in self._connection.execute(page)]
        sizes = {identifier: size for _, identifier, size in sorted(rows)}
        shared = read_shared(self._connection, sizes)
        return array("q", sorted(sizes, key=lambda each: sizes[each] - shared.get(each, 0), reverse=order.descending))

    def _records(self, targets: Iterable[str]) -> dict[str, list[_Row]]:
        records: dict[str, list[_Row]] = defaultdict(list)
        for chunk in in_chunks(targets):
            for row in self._connection.execute(_RECORDS, {"digests": chunk}).all():
                records[row.target].append(tuple(row))
        return records


def _is_between(prefix: str) -> ColumnElement[bool]:
    """Whether a name begins with this."""
    return and_(_image.c.name >= prefix, _image.c.name <= prefix + _LAST)


def _is_like(likes: Iterable[str]) -> ColumnElement[bool]:
    return or_(*(_image.c.name.like(like, escape="\\") for like in likes))


def _ordered(order: Order, *, has_conditions: bool) -> Select[int]:
    if order == NEWEST:
        return _SORTED if has_conditions else _ORDERED
    key = _KEYS[order.key]
    return select(_row.c.id).order_by(key.desc() if order.descending else key, _row.c.first_name)


def _to_target(row: _Row, records: tuple[_Row, ...]) -> Target:
    """The same rows give the same object, so what is derived from it can be kept with it."""
    kept = _kept.get((row, records))
    if kept is not None:
        return kept
    identifier, _, is_known, created, size, labels = row
    target = Target(identifier, tuple(to_record(record[:-1]) for record in records), is_known, created, size, labels)
    texts = 4 * len(labels or "") + sum(len(descriptor) for _, descriptor, *_ in records)
    _kept.put((row, records), target, _TARGET_BYTES * (1 + len(records)) + texts)
    return target


def _conditions(selection: Selection) -> Iterator[ColumnElement[bool]]:
    names = list(_name_conditions(selection))
    if names and selection.among is None:
        yield _row.c.digest.in_(select(_image.c.target).where(*names))
    if selection.created_after is not None:
        yield _row.c.age > bounded(selection.created_after)
    if selection.created_before is not None:
        yield _row.c.age < bounded(selection.created_before)
    for hashed in selection.labels:
        yield _row.c.id.in_(select(_label.c.target).where(_label.c.hash.in_((hashed, MANY_LABELS))))
    for hashed in selection.not_labels:
        yield ~exists().where(_label.c.target == _row.c.id, _label.c.hash == hashed, _label.c.everywhere)


def _name_conditions(selection: Selection) -> Iterator[ColumnElement[bool]]:
    is_dangling = and_(_image.c.name >= DANGLING, _image.c.name < NO_DANGLING)
    if selection.dangling is not None:
        yield is_dangling if selection.dangling else ~is_dangling
    if selection.stored_before is not None:
        yield _image.c.created_at < bounded(selection.stored_before)
