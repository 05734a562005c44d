"""Events as rows. Writers come one after the other, so that ids are in the order of commits; the newest row stays, so none is reused."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import BindParameter, Connection, bindparam, case, delete, func, insert, select

from stowage.services.metadata.records import Actor, Event
from stowage.services.metadata.tables import event

_LAST = select(func.coalesce(func.max(event.c.id), 0))
_AFTER = select(event).where(event.c.id > bindparam("position")).order_by(event.c.id).limit(bindparam("count"))
_newest = select(func.max(event.c.id)).scalar_subquery()
_newest_time = select(event.c.time).order_by(event.c.id.desc()).limit(1).scalar_subquery()
_at: BindParameter[int] = bindparam("at")
_is_a_little_later = _newest_time.between(_at, _at + 60_000_000_000)
_ADD = insert(event).values(id=func.coalesce(_newest, 0) + 1, time=case((_is_a_little_later, _newest_time), else_=_at))
_ADD_LAST = _ADD.returning(event.c.id)
_DROP = delete(event).where(event.c.id <= bindparam("last"))

_DROPS = 16
"""How often events are dropped while as many arrive as are kept."""


class Events:
    """The events of all processes; a bounded history is kept. Those of a transaction are visible once it is committed."""

    def __init__(self, connection: Connection, history: int) -> None:
        self._connection = connection
        self._history = history
        self._appended: list[dict[str, Any]] = []

    def append(self, *, time: int, event_type: str, action: str, actor: Actor) -> None:
        """Add the newest event. Now and then the oldest are dropped, so there are at most a sixteenth more than the store keeps.

        The time is that of the event before if that is later by less than a minute: whoever asks again for what came since then gets this.
        """
        attributes = orjson.dumps(dict(actor.attributes)).decode()
        self._appended.append({"at": time, "type": event_type, "action": action, "actor": actor.id, "attributes": attributes})

    def flush(self) -> None:
        """Write what was appended, and now and then drop the oldest events; at the end of the transaction and before reading."""
        if not self._appended:
            return
        *rows, last = self._appended
        self._appended = []
        if rows:
            self._connection.execute(_ADD, rows)
        newest = self._connection.scalars(_ADD_LAST, last).one()
        if newest % (self._history // _DROPS + 1) <= len(rows):
            self._connection.execute(_DROP, {"last": newest - self._history})

    def last(self) -> int:
        """The id of the newest event, 0 if there never was one."""
        self.flush()
        return self._last()

    def after(self, position: int, *, limit: int) -> list[Event]:
        """The events with ids beyond `position`, oldest first, at most `limit`."""
        self.flush()
        return [_to_event(*row) for row in self._connection.execute(_AFTER, {"position": position, "count": limit})]

    def _last(self) -> int:
        identifier: int = self._connection.scalars(_LAST).one()
        return identifier


def _to_event(identifier: int, time: int, kind: str, action: str, actor: str, attributes: str) -> Event:
    return Event(identifier, time, kind, action, Actor(actor, orjson.loads(attributes)))
