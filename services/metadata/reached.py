"""Which digests reach which others. Every edge between them is read once, however many paths there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from stowage.services.metadata import reach, tables
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.rows import in_chunks

Roots = frozenset[str]
"""The roots that reach a digest. Digests that the same ones reach share one object: images that have thousands in common cost little."""

_NONE: Roots = frozenset()
_TARGETS = select(tables.target.c.digest).where(tables.target.c.digest.in_(DIGESTS))


@dataclass(frozen=True, slots=True)
class Below:
    """The bytes and the recorded users of some present digests and of what is present below them, and what lists what there."""

    sizes: dict[str, int]
    users: dict[str, int]
    children: dict[str, set[str]]


@dataclass(frozen=True, slots=True)
class Reached(Below):
    """The same, and which of the digests reach each of those, themselves included."""

    roots: dict[str, Roots]

    def count(self) -> Counter[str]:
        """How many roots reach each digest."""
        return Counter({digest: len(self.roots[digest]) for digest in self.sizes})

    def bytes_by_root(self, counts: Callable[[str], bool] = lambda _: True) -> Counter[str]:
        """The bytes of the digests that count, for each root that reaches any."""
        by_roots: Counter[Roots] = Counter()
        for digest, size in self.sizes.items():
            if counts(digest):
                by_roots[self.roots[digest]] += size
        total: Counter[str] = Counter()
        for roots, size in by_roots.items():
            for root in roots:
                total[root] += size
        return total

    def groups(self) -> dict[str, dict[Hashable, int]]:
        """How many digests, present or not, and links from them each root reaches, in groups: what the same roots reach."""
        groups: Counter[Roots] = Counter()
        for digest, roots in self.roots.items():
            groups[roots] += 1 + len(self.children.get(digest, ()))
        found: dict[str, dict[Hashable, int]] = defaultdict(dict)
        for roots, number in groups.items():
            for root in roots:
                found[root][roots] = number
        return found


def read_below(connection: Connection, digests: Iterable[str]) -> Below:
    """The present ones of these digests, and what is below them."""
    below = Below({}, {}, defaultdict(set))
    for chunk in in_chunks(digests):
        for digest, size, users, child in connection.execute(reach.GRAPH_BELOW, {"digests": chunk}):
            if size is not None:
                below.sizes[digest], below.users[digest] = size, users
            if child is not None:
                below.children[digest].add(child)
    return below


def read_reached(connection: Connection, digests: Iterable[str]) -> Reached:
    """What the present ones of these digests reach."""
    roots = set(digests)
    below = read_below(connection, roots)
    return Reached(below.sizes, below.users, below.children, spread(roots & below.sizes.keys(), below.children))


def read_targets_above(connection: Connection, digests: Iterable[str]) -> dict[str, Roots]:
    """The targets that are or reach each of these digests, for those that have any."""
    asked = set(digests)
    children: dict[str, set[str]] = defaultdict(set)
    targets: set[str] = set()
    for chunk in in_chunks(asked):
        targets.update(connection.scalars(_TARGETS, {"digests": chunk}))
        for digest, target, parent in connection.execute(reach.TARGETS_ABOVE, {"digests": chunk}):
            if target is not None:
                targets.add(target)
            if parent is not None:
                children[parent].add(digest)
    reached = spread(targets, children)
    return {digest: reached[digest] for digest in asked & reached.keys()}


def read_rooted(connection: Connection, digests: Iterable[str]) -> set[str]:
    """Which of these digests are below a target or a leased digest, or are one that something lists."""
    asked = set(digests)
    children: dict[str, set[str]] = defaultdict(set)
    found: set[str] = set()
    for chunk in in_chunks(asked):
        for digest, is_root, parent in connection.execute(reach.GRAPH_ABOVE, {"digests": chunk}):
            if is_root:
                found.add(digest)
            if parent is not None:
                children[parent].add(digest)
    waiting = list(found)
    while waiting:
        new = children[waiting.pop()] - found
        found |= new
        waiting += new
    return asked & found


def spread(roots: Iterable[str], children: Mapping[str, Collection[str]]) -> dict[str, Roots]:
    """The roots that reach each digest, themselves included, by what the children of each are."""
    arriving: dict[str, set[Roots]] = defaultdict(set)
    for root in roots:
        arriving[root].add(frozenset([root]))
    reached: dict[str, Roots] = {}
    shared: dict[Roots, Roots] = {}
    for component in _components(list(arriving), children):
        sets = {each for digest in component for each in arriving.pop(digest, ())}
        new = sets.pop() if len(sets) == 1 else _NONE.union(*sets)
        new = shared.setdefault(new, new)
        reached |= dict.fromkeys(component, new)
        for child in {child for digest in component for child in children.get(digest, ()) if child not in reached}:
            arriving[child].add(new)
    return reached


def _components(roots: Iterable[str], children: Mapping[str, Collection[str]]) -> Iterator[list[str]]:
    """These digests and all below them, each after everything that reaches it, and those that reach each other together.

    There are such: an artifact may have manifests as layers, and these have it as what refers to them. Source: S. R. Kosaraju's algorithm.
    """
    order = _left_last_first(roots, children)
    parents: dict[str, set[str]] = defaultdict(set)
    for digest in order:
        for child in children.get(digest, ()):
            parents[child].add(digest)
    found: set[str] = set()
    for digest in order:
        component: list[str] = []
        waiting = {digest} - found
        while waiting:
            found |= waiting
            component += waiting
            waiting = {parent for each in waiting for parent in parents[each]} - found
        if component:
            yield component


def _left_last_first(roots: Iterable[str], children: Mapping[str, Collection[str]]) -> list[str]:
    """These digests and all below them, in the reverse of the order in which a search in depth leaves them."""
    left: list[str] = []
    entered: set[str] = set()
    waiting = [(root, False) for root in roots]
    while waiting:
        digest, is_left = waiting.pop()
        if is_left:
            left.append(digest)
        elif digest not in entered:
            entered.add(digest)
            waiting.append((digest, True))
            waiting += [(child, False) for child in children.get(digest, ()) if child not in entered]
    return left[::-1]
