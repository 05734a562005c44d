"""Copying all rows of a store from one database to another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Column, Connection, Row, Table, delete, exists, func, insert, inspect, literal, select

from stowage.services.errors import Conflict, Internal
from stowage.services.metadata.database import open_engine, transaction
from stowage.services.metadata.tables import METADATA, blob, layer_files
from stowage.services.progress import Advance

_VERSION = "alembic_version"

_ROWS = 1000
"""How many rows are in memory at once."""


def require_room(target: str, *, timeout: int, place: str) -> None:
    """Raise Conflict if there is a store in the target, of whichever version, or another program's tables; changes nothing.

    Raises as `open_engine` and `transaction` do if it cannot be used, for instance because another Stowage uses it.
    """
    engine = open_engine(target, timeout=timeout, place=place)
    try:
        with transaction(engine, writes=False) as connection:
            names = inspect(connection).get_table_names()
            if names and _VERSION not in names:
                raise Conflict(f"the other database has tables of another program: {', '.join(sorted(names))}")
            if blob.name in names:
                _require_no_store(connection)
    finally:
        engine.dispose()


def copy_rows(source: str, target: str, *, timeout: int, place: str, advance: Advance) -> int:
    """Make the target a copy of the source, compare the two, and return the number of rows. Nobody else writes to either meanwhile.

    Lists of files are not copied: they are large, and read again when somebody looks.

    Both URLs are of databases at the newest revision. `advance` is called with the number of tables that are done. The target is changed in
    one transaction. Raises Conflict if it has blobs, and Internal if the copies differ.
    """
    with _alone(source, timeout, place) as reader, _alone(target, timeout, place) as writer:
        _require_no_store(writer)
        for table in reversed(METADATA.sorted_tables):
            writer.execute(delete(table))
        rows = 0
        copied = [table for table in METADATA.sorted_tables if table is not layer_files]
        for number, table in enumerate(copied):
            advance(number, len(copied))
            rows += _copy(table, reader, writer)
        return rows


def _require_no_store(connection: Connection) -> None:
    if connection.scalar(select(exists(select(blob.c.digest)))):
        raise Conflict("there is a store in the other database")


@contextmanager
def _alone(url: str, timeout: int, place: str) -> Iterator[Connection]:
    """A transaction without a time limit, beside which nobody writes."""
    engine = open_engine(url, timeout=timeout, place=place)
    try:
        with transaction(engine, writes=True, migrates=True) as connection:
            yield connection
    finally:
        engine.dispose()


def _copy(table: Table, reader: Connection, writer: Connection) -> int:
    count = 0
    for rows in _partitions(table, reader):
        writer.execute(insert(table), [row._asdict() for row in rows])
        count += len(rows)
    if table.autoincrement_column is not None and writer.dialect.name == "postgresql":
        _set_sequence(table, table.autoincrement_column, writer)
    copied = _partitions(table, writer)
    if any(rows != next(copied, ()) for rows in _partitions(table, reader)) or next(copied, ()):
        raise Internal(f"the rows of table {table.name} differ after they were copied")
    return count


def _set_sequence(table: Table, column: Column[int], writer: Connection) -> None:
    """Have PostgreSQL number the next row after the copied ones; SQLite does so by itself."""
    after = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
    writer.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), after, literal(value=False))))


def _partitions(table: Table, connection: Connection) -> Iterator[list[Row[tuple[object, ...]]]]:
    query = select(table).order_by(*table.primary_key).execution_options(yield_per=_ROWS)
    for rows in connection.execute(query).partitions():
        yield list(rows)
