"""Recursive queries over the edges: down to descendants, up to ancestors."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CTE,
    BindParameter,
    Column,
    ColumnElement,
    ScalarSelect,
    Select,
    bindparam,
    except_,
    func,
    literal,
    or_,
    select,
    union,
)

from stowage.services.metadata.clock import NOW
from stowage.services.metadata.records import Role
from stowage.services.metadata.tables import blob, edge, image, lease, lease_blob, manifest, target

DIGESTS: BindParameter[list[str]] = bindparam("digests", expanding=True)
"""The IN list that these queries take."""

_TARGETS = select(image.c.target.label("digest"))
_LEASED = select(lease_blob.c.digest).join(lease, lease.c.id == lease_blob.c.lease).where(lease.c.expires_at > NOW)
_CHILDREN = select(edge.c.child.label("digest")).where(edge.c.parent.in_(DIGESTS))
_PARENTS = select(edge.c.parent.label("digest")).where(edge.c.child.in_(DIGESTS))


def _down(first: Select[str]) -> CTE:
    """These digests and everything below them."""
    down = first.cte("down", recursive=True)
    return down.union(select(edge.c.child).join(down, edge.c.parent == down.c.digest))


def _up(first: Select[str]) -> CTE:
    """These digests and everything above them."""
    up = first.cte("up", recursive=True)
    return up.union(select(edge.c.parent).join(up, edge.c.child == up.c.digest))


def _is_found(query: Select[str]) -> ColumnElement[bool]:
    """Whether a correlated query has a row. Of EXISTS PostgreSQL would make a hash of the whole table: it expects millions of digests."""
    return query.limit(1).scalar_subquery().is_not(None)


_PRESENT = select(blob.c.digest.label("digest")).where(blob.c.digest.in_(DIGESTS))
_below = _down(_PRESENT)
_above = _up(select(edge.c.child.label("digest")).where(edge.c.child.in_(DIGESTS)))  # as far as something lists them
_rooted = _down(select(union(_TARGETS, _LEASED).subquery().c.digest))

BELOW = select(_down(_CHILDREN).c.digest)
"""Everything below DIGESTS."""

ABOVE = select(_up(_PARENTS).c.digest)
"""Everything above DIGESTS."""

MANIFESTS_ABOVE = union(select(manifest.c.digest).where(manifest.c.digest.in_(DIGESTS)), ABOVE)
"""The manifests among DIGESTS and above them: only manifests list anything."""

PRESENT_AND_ABOVE = _up(_PRESENT)
"""The present ones of DIGESTS, and everything above them, to join with."""

ROOTS = union(_TARGETS.where(image.c.target.in_(DIGESTS)), _LEASED.where(lease_blob.c.digest.in_(DIGESTS)))
"""Which of DIGESTS are a target or leased."""

USED = select(blob.c.digest).where(blob.c.digest.in_(DIGESTS), blob.c.users > 0)
"""Which of DIGESTS are present and reachable from a target."""

UNUSED = select(blob.c.digest).where(blob.c.users == 0)
"""Every present blob that no target reaches; a lease may keep it."""

LEASED = select(_down(_LEASED).c.digest)
"""What leases that have not expired name, and everything below."""


def _levels(name: str, end: Column[str], start: Column[str], *follows: ColumnElement[bool]) -> ScalarSelect[Any]:
    """How many levels of links from `start` to `end` follow DIGESTS, counted up to one more than `most`."""
    first = select(end.label("digest"), literal(1).label("level")).where(start.in_(DIGESTS), *follows).cte(name, recursive=True)
    further = select(end, first.c.level + 1).join(first, start == first.c.digest).where(first.c.level <= bindparam("most"), *follows)
    levels = first.union(further)
    return select(func.coalesce(func.max(levels.c.level), 0)).scalar_subquery()


_is_manifest = or_(edge.c.role == Role.MANIFEST, _is_found(select(manifest.c.digest).where(manifest.c.digest == edge.c.child)))

LEVELS = select(_levels("lower", edge.c.child, edge.c.parent, _is_manifest), _levels("higher", edge.c.parent, edge.c.child))
"""How many levels of manifests are below DIGESTS, and above."""

UNROOTED = except_(select(blob.c.digest), select(_rooted.c.digest))
"""Every blob that neither a target nor a lease reaches."""

# Outer joins from here on keep SQLite from reading the larger table first: without statistics it takes every blob, and looks it up below.
GRAPH_BELOW = (
    select(_below.c.digest, blob.c.size, blob.c.users, edge.c.child)
    .outerjoin(blob, blob.c.digest == _below.c.digest)
    .outerjoin(edge, edge.c.parent == _below.c.digest)
)
"""(digest, bytes, users, child) for each edge below the present ones of DIGESTS, and once for what has none; absent digests have neither
bytes nor users.
"""

GRAPH_ABOVE = select(
    _above.c.digest,
    or_(
        _is_found(_TARGETS.where(image.c.target == _above.c.digest)),
        _is_found(_LEASED.where(lease_blob.c.digest == _above.c.digest)),
    ),
    edge.c.parent,
).outerjoin(edge, edge.c.child == _above.c.digest)
"""(digest, whether it is a target or leased, parent) for each edge above DIGESTS, and once for what has none."""

TARGETS_ABOVE = (
    select(_above.c.digest, target.c.digest, edge.c.parent)
    .outerjoin(target, target.c.digest == _above.c.digest)
    .outerjoin(edge, edge.c.child == _above.c.digest)
)
"""(digest, the same if it is a target, parent) for each edge above DIGESTS, and once for what has none."""
