"""Leases as rows, timed by the database's clock."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from sqlalchemy import BindParameter, ColumnElement, Connection, and_, bindparam, delete, exists, func, insert, or_, select, update

from stowage.services.metadata import tables
from stowage.services.metadata.clock import NOW
from stowage.services.metadata.objects import doom_intents, insert_intents, require_lease
from stowage.services.metadata.rows import in_chunks, to_digest
from stowage.services.oci.digest import Digest

_EXPIRED = select(tables.lease.c.id).where(tables.lease.c.expires_at <= NOW).limit(1).scalar_subquery()
_DOOMED = select(tables.doomed.c.location).limit(1).scalar_subquery()
_of_lease: BindParameter[str] = bindparam("lease")
_END = (
    delete(tables.lease)
    .where(tables.lease.c.id == _of_lease, ~exists().where(tables.intent.c.lease == _of_lease))
    .returning(func.coalesce(_EXPIRED, _DOOMED).is_not(None))
)
"""Ends a lease without intents; returns whether there is an expired lease or a doomed object."""


class Leases:
    """Leases. Times are seconds from now, by the database's clock.

    `require`, `add` and `renew` raise Internal for a lease that has ended.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, note: str, *, alive: int, expires: int) -> str:
        """A new lease's id; it counts as running for `alive` seconds after each renewal and holds its blobs for `expires`.

        With 0 for `alive` its holder has abandoned it.
        """
        identifier = secrets.token_hex(16)
        times = {"alive_until": _alive(alive), "expires_at": NOW + expires}
        self._connection.execute(insert(tables.lease).values(id=identifier, note=note, **times))
        return identifier

    def fill(self, lease: str, digests: Iterable[Digest], locations: Iterable[str]) -> None:
        """What a lease of this very transaction holds, and the objects that are going to be written under it: see `Objects.intend`."""
        if held := [{"lease": lease, "digest": digest} for digest in sorted({str(digest) for digest in digests})]:
            self._connection.execute(insert(tables.lease_blob), held)
        insert_intents(self._connection, lease, locations)

    def require(self, lease: str) -> None:
        require_lease(self._connection, lease)

    def add(self, lease: str, digests: Iterable[Digest]) -> None:
        require_lease(self._connection, lease)
        for chunk in in_chunks(digests):
            among = select(tables.lease_blob.c.digest).where(tables.lease_blob.c.lease == lease, tables.lease_blob.c.digest.in_(chunk))
            known = set(self._connection.scalars(among))
            if rows := [{"lease": lease, "digest": digest} for digest in sorted(set(chunk) - known)]:
                self._connection.execute(insert(tables.lease_blob), rows)

    def renew(self, lease: str, *, alive: int, expires: int) -> None:
        require_lease(self._connection, lease)
        renewal = update(tables.lease).where(tables.lease.c.id == lease)
        self._connection.execute(renewal.values(alive_until=_alive(alive), expires_at=NOW + expires))

    def digests(self, lease: str) -> set[Digest]:
        held = select(tables.lease_blob.c.digest).where(tables.lease_blob.c.lease == lease)
        return {to_digest(text) for text in self._connection.scalars(held)}

    def held(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these an unexpired lease names; blobs that are only reachable from a named one are not included."""
        named = select(tables.lease_blob.c.digest).join(tables.lease).where(tables.lease.c.expires_at > NOW).distinct()
        chunks = in_chunks(digests)
        return {
            to_digest(text) for chunk in chunks for text in self._connection.scalars(named.where(tables.lease_blob.c.digest.in_(chunk)))
        }

    def end(self, lease: str) -> tuple[set[Digest], bool]:
        """End it, if it has not ended yet; returns what it held, and whether there may be expired leases or doomed objects to remove."""
        held = delete(tables.lease_blob).where(tables.lease_blob.c.lease == lease).returning(tables.lease_blob.c.digest)
        digests = {to_digest(text) for text in self._connection.scalars(held)}
        left = self._connection.scalars(_END, {"lease": lease}).all()
        if not left:  # it has intents, or has ended before
            doom_intents(self._connection, lease)
            left = self._connection.scalars(_END, {"lease": lease}).all()
        return digests, any(left)

    def have_expired(self) -> bool:
        """Whether any lease has expired."""
        return self._connection.scalar(select(_EXPIRED)) is not None

    def end_expired(self, *, limit: int) -> set[Digest]:
        """End expired leases, at most `limit`, in the order in which they expired; returns what they held."""
        expired = select(tables.lease.c.id).where(tables.lease.c.expires_at <= NOW).order_by(tables.lease.c.expires_at).limit(limit)
        held: set[Digest] = set()
        for identifier in self._connection.scalars(expired).all():
            held |= self.end(identifier)[0]
        return held

    def end_abandoned(self, *, limit: int, grace: int) -> bool:
        """End leases that expired, were abandoned, or are late, at most `limit`; returns whether there may be more.

        A lease is late if it was not renewed in time. Its holder may have been cut off from the database, so it is not ended before
        `grace` seconds have passed since the first call that found it late, unless it is renewed.
        """
        alive_until = tables.lease.c.alive_until
        late = update(tables.lease).where(alive_until > 0, alive_until <= NOW)
        self._connection.execute(late.values(alive_until=-(NOW + grace)))
        abandoned = or_(tables.lease.c.expires_at <= NOW, and_(alive_until <= 0, -alive_until <= NOW))
        found = self._connection.scalars(select(tables.lease.c.id).where(abandoned).limit(limit)).all()
        for identifier in found:
            self.end(identifier)
        return len(found) == limit


def _alive(seconds: int) -> ColumnElement[int] | int:
    """Until when the holder counts as running: 0 if it has gone. A negative number ends the last period of one that is late."""
    return NOW + seconds if seconds else 0
