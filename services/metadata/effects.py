"""What a change of blobs and edges does to the counts of everything above it.

Found from what lies between the two, read in the direction that has fewer links: up from what changes, or down from all that is above it.
So a manifest that is added below hundreds of indexes costs what it brings, not all that these list.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Executable, Select, func, select

from stowage.services.metadata import reach, tables
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.reached import Below, Roots, read_below, spread
from stowage.services.metadata.rows import in_chunks

Children = dict[str, set[str]]

_LINKS = select(tables.edge.c.parent, tables.edge.c.child)
_BELOW = _LINKS.where(tables.edge.c.parent.in_(DIGESTS))
_ABOVE = _LINKS.where(tables.edge.c.child.in_(DIGESTS))
_COUNT_BELOW = select(func.count()).where(tables.edge.c.parent.in_(DIGESTS))
_COUNT_ABOVE = select(func.count()).where(tables.edge.c.child.in_(DIGESTS))
_TARGETS = select(tables.target.c.digest).where(tables.target.c.digest.in_(DIGESTS))

_NONE: Roots = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """What will change.

    `sizes` has each blob that is added, gets another size, or is removed (None). `links` has what is added below each manifest, new ones
    among them. `unmade` are the manifests that are removed with their links.
    """

    sizes: Mapping[str, int | None] = field(default_factory=dict)
    links: Mapping[str, Collection[str]] = field(default_factory=dict)
    unmade: AbstractSet[str] = frozenset()

    @property
    def changed(self) -> set[str]:
        return {*self.sizes, *self.links, *self.unmade}


@dataclass(slots=True)
class Effects:
    """What to add to the recorded numbers.

    `content` is for manifests, `shared` for the targets among them, `others` for blobs of which some other target becomes, or stops being,
    the only user. `targets` are all that are above a change, and `relists` says whether it is one of what they list. `links` is how many
    the manifests above it have themselves.
    """

    targets: set[str] = field(default_factory=set)
    content: Counter[str] = field(default_factory=Counter)
    users: Counter[str] = field(default_factory=Counter)
    shared: Counter[str] = field(default_factory=Counter)
    others: dict[str, int] = field(default_factory=dict)
    relists: bool = False
    links: int = 0


def find_effects(connection: Connection, change: Change) -> Effects:
    """What this change will do, which is not made yet."""
    effects = Effects()
    recorded = _scalars(connection, reach.MANIFESTS_ABOVE, change.changed)
    new, staying = change.links.keys() - recorded, recorded - change.unmade
    if not new and not staying:
        return effects
    effects.targets = _scalars(connection, _TARGETS, staying)
    effects.relists = bool(new or change.unmade & recorded)
    first = {*change.changed.difference(change.links), *new}.union(*change.links.values())
    affected = read_below(connection, first)
    children = affected.children
    if staying:
        effects.links = _count(connection, _COUNT_BELOW, staying)
        below = {*first, *change.changed}.union(*children.values())
        is_up = _count(connection, _COUNT_ABOVE, below) <= effects.links
        _add_links(children, _follow(connection, _ABOVE, below) if is_up else _follow(connection, _BELOW, staying))
    before = spread(staying, children)
    for parent in change.unmade:
        children.pop(parent, None)
    _add_links(children, change.links)
    after = spread(staying | new, children)
    _compare(effects, _Blobs.of(affected, change.sizes), before, after)
    return effects


@dataclass(frozen=True, slots=True)
class _Blobs:
    """The bytes of blobs, if they are present, before and after the change, and their users before it."""

    before: dict[str, int]
    after: dict[str, int]
    users: dict[str, int]

    @classmethod
    def of(cls, affected: Below, sizes: Mapping[str, int | None]) -> _Blobs:
        after = {digest: size for digest, size in {**affected.sizes, **sizes}.items() if size is not None}
        return cls(affected.sizes, after, affected.users)


def _compare(effects: Effects, blobs: _Blobs, before: Mapping[str, Roots], after: Mapping[str, Roots]) -> None:
    groups: dict[tuple[Roots, Roots], list[str]] = defaultdict(list)
    for digest in blobs.before.keys() | blobs.after.keys():
        was = before.get(digest, _NONE) if digest in blobs.before else _NONE
        now = after.get(digest, _NONE) if digest in blobs.after else _NONE
        if was or now:
            groups[was, now].append(digest)
    for (was, now), digests in groups.items():
        if was != now or any(blobs.before[digest] != blobs.after[digest] for digest in digests):
            _add_group(effects, blobs, (was, now), digests)


def _add_group(effects: Effects, blobs: _Blobs, reached_by: tuple[Roots, Roots], digests: Iterable[str]) -> None:
    """Add what happens to digests that the same manifests reach before the change, and the same after it."""
    was, now = reached_by
    targets_before, targets_after = effects.targets & was, effects.targets & now
    more = len(targets_after) - len(targets_before)
    content = shared = (0, 0)
    for digest in digests:
        users = blobs.users.get(digest, 0)
        sizes = blobs.before.get(digest, 0), blobs.after.get(digest, 0)
        counted = sizes[0] if users > 1 else 0, sizes[1] if users + more > 1 else 0
        content = content[0] + sizes[0], content[1] + sizes[1]
        shared = shared[0] + counted[0], shared[1] + counted[1]
        if more and digest in blobs.after:
            effects.users[digest] = more
        if users - len(targets_before) == 1 and counted[0] != counted[1]:
            effects.others[digest] = counted[1] - counted[0]
    for total, roots, (before, after) in (
        (effects.content, (was, now), content),
        (effects.shared, (targets_before, targets_after), shared),
    ):
        for root in roots[0]:
            total[root] -= before
        for root in roots[1]:
            total[root] += after


def _follow(connection: Connection, links: Select[Any], level: set[str]) -> Children:
    """All links below these digests, or above them, each read once."""
    found: Children = defaultdict(set)
    seen: set[str] = set()
    while level:
        seen |= level
        ends: set[str] = set()
        for parent, child in _rows(connection, links, level):
            found[parent].add(child)
            ends.add(child if links is _BELOW else parent)
        level = ends - seen
    return found


def _add_links(children: Children, more: Mapping[str, Collection[str]]) -> None:
    for parent, each in more.items():
        children.setdefault(parent, set()).update(each)


def _count(connection: Connection, query: Select[int], digests: Iterable[str]) -> int:
    return sum(connection.scalar(query, {"digests": chunk}) or 0 for chunk in in_chunks(digests))


def _scalars(connection: Connection, query: Executable, digests: Iterable[str]) -> set[str]:
    return {digest for chunk in in_chunks(digests) for digest in connection.scalars(query, {"digests": chunk})}


def _rows(connection: Connection, query: Select[Any], digests: Iterable[str]) -> Iterator[Any]:
    return (row for chunk in in_chunks(digests) for row in connection.execute(query, {"digests": chunk}))
