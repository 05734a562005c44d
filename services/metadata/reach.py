"""Queries for the digests below and above others: in `reach` those of targets, in the edges also those that no target reaches.

An image has at most MAX_DESCRIPTORS when it gets into the store, so every walk from a target is short, and so is the transaction that
writes its rows. An image of an older store may have more and stays usable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import CTE, BindParameter, ColumnElement, Connection, Select, bindparam, except_, exists, select, union

from stowage.services.errors import InvalidContent
from stowage.services.metadata.clock import NOW
from stowage.services.metadata.rows import in_chunks
from stowage.services.metadata.tables import blob, edge, image, lease, lease_blob, reach

MAX_DESCRIPTORS = 20_000
"""How many descriptors an image may have: what its index lists, what that lists, the config and layers of each manifest, and what refers
to one. Real images have a few hundred.
"""

MAX_LEVELS = 9
"""How many of these may be below each other; indexes of indexes have four, that of a signed image three."""

DIGESTS: BindParameter[list[str]] = bindparam("digests", expanding=True)
"""The IN list that these queries take."""

Links = Mapping[str, Sequence[str]]
"""What each manifest lists, as often as it lists it."""

_LEASED = select(lease_blob.c.digest).join(lease, lease.c.id == lease_blob.c.lease).where(lease.c.expires_at > NOW)


def _down(first: Select[str]) -> CTE:
    """These digests and everything below them."""
    down = first.cte("down", recursive=True)
    return down.union(select(edge.c.child).join(down, edge.c.parent == down.c.digest))


def _up(first: Select[str]) -> CTE:
    """These digests and everything above them."""
    up = first.cte("up", recursive=True)
    return up.union(select(edge.c.parent).join(up, edge.c.child == up.c.digest))


def is_found(query: Select[Any]) -> ColumnElement[bool]:
    """Whether a correlated query has a row. Of EXISTS PostgreSQL may make a hash of the whole table."""
    return query.limit(1).scalar_subquery().is_not(None)


_children = _down(select(edge.c.child.label("digest")).where(edge.c.parent.in_(DIGESTS)))
BELOW = select(_children.c.digest)
"""Everything below DIGESTS."""

_and_below = _down(select(edge.c.parent.label("digest")).where(edge.c.parent.in_(DIGESTS)))
# An outer join keeps SQLite from reading all edges first.
_LINKS = select(_and_below.c.digest, edge.c.child).select_from(_and_below.outerjoin(edge, edge.c.parent == _and_below.c.digest))

ABOVE = select(_up(select(edge.c.parent.label("digest")).where(edge.c.child.in_(DIGESTS))).c.digest)
"""Everything above DIGESTS."""

USED = select(blob.c.digest).where(blob.c.digest.in_(DIGESTS), is_found(select(reach.c.target).where(reach.c.digest == blob.c.digest)))
"""Which of DIGESTS are present and reachable from a target; costs the same however many targets reach one."""

WANTED = select(reach.c.digest).where(reach.c.digest.in_(DIGESTS)).distinct()
"""Which of DIGESTS are reachable from a target, present or not."""

UNUSED = select(blob.c.digest).where(~exists().where(reach.c.digest == blob.c.digest))
"""Every present blob that no target reaches; a lease may keep it."""

LEASED = select(_down(_LEASED).c.digest)
"""What leases that have not expired name, and everything below."""

_rooted = _down(select(union(select(image.c.target.label("digest")), _LEASED).subquery().c.digest))
UNROOTED = except_(select(blob.c.digest), select(_rooted.c.digest))
"""Every blob that neither a target nor a lease reaches, by all edges."""

# With the digest from which each is found; as far as something lists them.
_first = select(edge.c.child.label("asked"), edge.c.parent.label("digest")).where(edge.c.child.in_(DIGESTS)).cte("up", recursive=True)
_up_from = _first.union(select(_first.c.asked, edge.c.parent).join(_first, edge.c.child == _first.c.digest))
KEPT_BY_LEASES = union(
    _LEASED.where(lease_blob.c.digest.in_(DIGESTS)),
    select(_up_from.c.asked).where(_up_from.c.digest.in_(_LEASED)),
)
"""Which of DIGESTS a lease that has not expired keeps. To be asked about those that no target reaches: the others have much above them."""


def read_links(connection: Connection, roots: Iterable[str]) -> Links:
    """Everything that is below these digests; to be read of a few at a time."""
    links: dict[str, list[str]] = defaultdict(list)
    for chunk in in_chunks(roots):
        read: set[str] = links.keys() - set[str]()
        for parent, child in connection.execute(_LINKS, {"digests": chunk}):
            if child is not None and parent not in read:
                links[parent].append(child)
    return links


def walk(root: str, links: Links) -> set[str]:
    """A digest and everything below it."""
    found, level = {root}, {root}
    while level:
        level = {child for digest in level for child in links.get(digest, ())} - found
        found |= level
    return found


def count_descriptors(found: Iterable[str], links: Links) -> int:
    """How many descriptors the manifests among these have."""
    return sum(len(links.get(digest, ())) for digest in found)


def require_few(root: str, links: Links) -> int:
    """The number of descriptors below a target; raises InvalidContent if it has too many, or too many levels of them."""
    count = count_descriptors(walk(root, links), links)
    if count > MAX_DESCRIPTORS:
        raise InvalidContent(
            f"image {root} has {count} descriptors: what it lists, and what that has; at most {MAX_DESCRIPTORS} are stored"
        )
    level, levels = {root}, -1
    while level:
        level = {child for digest in level for child in links.get(digest, ())}
        levels += 1
        if levels > MAX_LEVELS:
            raise InvalidContent(f"manifest {root} is nested too deeply together with others in the store")
    return count
