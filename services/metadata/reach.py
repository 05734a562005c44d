"""Recursive queries over the edges: down to descendants, up to ancestors."""

from __future__ import annotations

from sqlalchemy import CTE, BigInteger, BindParameter, Select, bindparam, cast, except_, func, or_, select, union

from stowage.services.metadata.leases import NOW
from stowage.services.metadata.tables import blob, edge, image, lease, lease_blob, target

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


def _up() -> CTE:
    """Everything above DIGESTS."""
    up = _PARENTS.cte("up", recursive=True)
    return up.union(select(edge.c.parent).join(up, edge.c.child == up.c.digest))


def _down_by_root() -> CTE:
    """Pairs (root, digest): what each present digest of DIGESTS reaches, itself included."""
    first = select(blob.c.digest.label("root"), blob.c.digest.label("digest")).where(blob.c.digest.in_(DIGESTS))
    down = first.cte("down", recursive=True)
    return down.union(select(down.c.root, edge.c.child).join(edge, edge.c.parent == down.c.digest))


def _up_by_origin() -> CTE:
    """Pairs (origin, digest): what each of DIGESTS is reachable from."""
    first = select(edge.c.child.label("origin"), edge.c.parent.label("digest")).where(edge.c.child.in_(DIGESTS))
    up = first.cte("up", recursive=True)
    return up.union(select(up.c.origin, edge.c.parent).join(edge, edge.c.child == up.c.digest))


_origins = _up_by_origin()
_rooted = _down(select(union(_TARGETS, _LEASED).subquery().c.digest))
_reached = _down_by_root()

BELOW = select(_down(_CHILDREN).c.digest)
"""Everything below DIGESTS."""

ABOVE = select(_up().c.digest)
"""Everything above DIGESTS."""

ROOTS = union(_TARGETS.where(image.c.target.in_(DIGESTS)), _LEASED.where(lease_blob.c.digest.in_(DIGESTS)))
"""Which of DIGESTS are a target or leased."""

USED = select(blob.c.digest).where(blob.c.digest.in_(DIGESTS), blob.c.users > 0)
"""Which of DIGESTS are present and reachable from a target."""

UNUSED = select(blob.c.digest).where(blob.c.users == 0)
"""Every present blob that no target reaches; a lease may keep it."""

BELOW_ROOTS = (
    select(_origins.c.origin)
    .where(
        or_(
            _TARGETS.where(image.c.target == _origins.c.digest).exists(),
            _LEASED.where(lease_blob.c.digest == _origins.c.digest).exists(),
        )
    )
    .distinct()
)
"""Which of DIGESTS are below a target or a leased digest; the cost depends on DIGESTS, not on the store."""

LEASED = select(_down(_LEASED).c.digest)
"""What leases that have not expired name, and everything below."""

UNROOTED = except_(select(blob.c.digest), select(_rooted.c.digest))
"""Every blob that neither a target nor a lease reaches."""

# Outer joins from here on keep SQLite from reading the larger table first: without statistics it takes every blob, and looks it up below.
CONTENT_SIZES = (
    select(_reached.c.root, cast(func.sum(blob.c.size), BigInteger))  # PostgreSQL's sum is a decimal
    .outerjoin(blob, blob.c.digest == _reached.c.digest)
    .group_by(_reached.c.root)
)
"""(root, bytes) of the distinct present blobs that each of DIGESTS reaches."""

HOLDINGS = select(_reached.c.root, _reached.c.digest, blob.c.size).outerjoin(blob, blob.c.digest == _reached.c.digest)
"""(root, digest, bytes) of everything that each of DIGESTS reaches; the bytes are null for what is absent."""

TARGETS_ABOVE = union(
    select(target.c.digest.label("origin"), target.c.digest).where(target.c.digest.in_(DIGESTS)),
    select(_origins.c.origin, target.c.digest).outerjoin(target, target.c.digest == _origins.c.digest),
)
"""(origin, target) for each target that is, or reaches, one of DIGESTS; the target is null for what else is above it."""
