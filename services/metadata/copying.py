"""Copying all rows of a store from one database to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, Connection, Table, delete, exists, func, insert, inspect, literal, select

from stowage.services.errors import Conflict, Internal
from stowage.services.metadata.database import open_engine, transaction
from stowage.services.metadata.tables import METADATA, blob, doomed, intent, layer_files
from stowage.services.progress import Advance

_VERSION = "alembic_version"

_ROWS = 1000
"""How many rows are in memory at once."""

Locate = Callable[[str], str]
"""Returns the location that the blob of a digest has in the copy. Raises Conflict for one that was not copied."""


def require_room(target: str, *, timeout: int, place: str, continues: bool = False) -> None:
    """Raise Conflict if there is a store in the target, of whichever version, or another program's tables; changes nothing.

    `continues` if it may be a copy that `copy_rows` has made, which that checks.
    Raises as `open_engine` and `transaction` do if it cannot be used, for instance because another Stowage uses it.
    """
    engine = open_engine(target, timeout=timeout, place=place)
    try:
        with transaction(engine, writes=False) as connection:
            names = inspect(connection).get_table_names()
            if names and _VERSION not in names:
                raise Conflict(f"the other database has tables of another program: {', '.join(sorted(names))}")
            if blob.name in names and not continues:
                _require_no_store(connection)
    finally:
        engine.dispose()


def copy_rows(
    source: str, target: str, *, timeout: int, place: str, advance: Advance, target_place: str = "", locate: Locate | None = None
) -> int:
    """Make the target a copy of the source, compare the two, and return the number of rows. Nobody else writes to either meanwhile.

    Lists of files are not copied: they are large, and read again when somebody looks. If the blobs were copied too, `locate` says where
    each is, and `target_place` what `place` says of the content of the target. Then objects that are being written or removed are left out.

    Both URLs are of databases at the newest revision. `advance` is called with the number of tables that are done. The target is changed in
    one transaction. Raises Conflict if it has blobs, unless `locate` is given and it is such a copy already; Internal if the copies differ.
    """
    with _alone(source, timeout, place) as reader, _alone(target, timeout, target_place or place) as writer:
        left_out = (layer_files,) if locate is None else (layer_files, intent, doomed)
        copied = [table for table in METADATA.sorted_tables if table not in left_out]
        if locate is not None and _has_store(writer):
            return _require_copy(copied, reader, writer, locate)
        _require_no_store(writer)
        for table in reversed(METADATA.sorted_tables):
            writer.execute(delete(table))
        rows = 0
        for number, table in enumerate(copied):
            advance(number, len(copied))
            rows += _copy(table, reader, writer, locate)
        return rows


def _require_no_store(connection: Connection) -> None:
    if _has_store(connection):
        raise Conflict("there is a store in the other database")


def _has_store(connection: Connection) -> bool:
    return bool(connection.scalar(select(exists(select(blob.c.digest)))))


def _require_copy(tables: Sequence[Table], reader: Connection, writer: Connection, locate: Locate) -> int:
    """Raise Conflict unless the rows of the target are what would be copied; returns their number."""
    counts = [_compare(table, reader, writer, locate) for table in tables]
    if None in counts:
        raise Conflict("there is a store in the other database, which is no copy of this one as it is now; empty that database")
    return sum(filter(None, counts))


@contextmanager
def _alone(url: str, timeout: int, place: str) -> Iterator[Connection]:
    """A transaction without a time limit, beside which nobody writes."""
    engine = open_engine(url, timeout=timeout, place=place)
    try:
        with transaction(engine, writes=True, migrates=True) as connection:
            yield connection
    finally:
        engine.dispose()


def _copy(table: Table, reader: Connection, writer: Connection, locate: Locate | None = None) -> int:
    for rows in _partitions(table, reader, locate):
        writer.execute(insert(table), rows)
    if table.autoincrement_column is not None and writer.dialect.name == "postgresql":
        _set_sequence(table, table.autoincrement_column, writer)
    count = _compare(table, reader, writer, locate)
    if count is None:
        raise Internal(f"the rows of table {table.name} differ after they were copied")
    return count


def _compare(table: Table, reader: Connection, writer: Connection, locate: Locate | None) -> int | None:
    """The number of rows if both have the same, otherwise None."""
    copied, count = _partitions(table, writer, None), 0
    for rows in _partitions(table, reader, locate):
        if rows != next(copied, []):
            return None
        count += len(rows)
    return None if next(copied, []) else count


def _set_sequence(table: Table, column: Column[int], writer: Connection) -> None:
    """Have PostgreSQL number the next row after the copied ones; SQLite does so by itself."""
    after = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
    writer.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), after, literal(value=False))))


def _partitions(table: Table, connection: Connection, locate: Locate | None) -> Iterator[list[dict[str, Any]]]:
    """The rows in pages; `locate` replaces the locations of blobs."""
    query = select(table).order_by(*table.primary_key).execution_options(yield_per=_ROWS)
    for page in connection.execute(query).partitions():
        rows = [row._asdict() for row in page]
        if locate is not None and table is blob:
            rows = [row | {"location": locate(row["digest"])} for row in rows]
        yield rows
