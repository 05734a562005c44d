"""How many rows there are."""

from __future__ import annotations

from sqlalchemy import Connection, case, func, select

from stowage.services.metadata.clock import NOW
from stowage.services.metadata.records import RowCounts
from stowage.services.metadata.tables import blob, lease, store

_STATE = case((lease.c.expires_at <= NOW, "expired"), (lease.c.alive_until <= NOW, "kept"), else_="running")


def count_rows(connection: Connection) -> RowCounts:
    """Count what metrics show; reads every row of the blobs."""
    images, swept_at = connection.execute(select(store.c.images, store.c.swept_at)).one()
    blobs, size = connection.execute(select(func.count(), func.coalesce(func.sum(blob.c.size), 0)).select_from(blob)).one()
    found: dict[str, int] = {row[0]: row[1] for row in connection.execute(select(_STATE, func.count()).select_from(lease).group_by(_STATE))}
    return RowCounts(images, blobs, int(size), {state: found.get(state, 0) for state in ("running", "kept", "expired")}, swept_at)
