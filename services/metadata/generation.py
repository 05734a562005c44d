"""The generation of the store: a number that changes with everything a list shows."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from stowage.services.metadata.tables import generation

_READ = select(generation.c.value)
_BUMP = update(generation).values(value=generation.c.value + 1)


def current(connection: Connection) -> int:
    value: int = connection.scalars(_READ).one()
    return value


def bump(connection: Connection) -> None:
    """Record, in the changing transaction, that what lists show has changed."""
    connection.execute(_BUMP)
