"""What the database can report about its own damage, and about what its rows derive from others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sqlalchemy import Connection, select

from stowage.services.metadata.counts import find_wrong_number
from stowage.services.metadata.reached import read_reached
from stowage.services.metadata.recount import find_differences
from stowage.services.metadata.rows import in_chunks
from stowage.services.metadata.tables import manifest

_STORED_SIZES = select(manifest.c.digest, manifest.c.content_size)


def find_problems(connection: Connection) -> list[str]:
    """A sentence for each problem; reads the whole database. If SQLite finds it broken, only that is reported: the rest may be unreadable.
    PostgreSQL has no such check of itself in SQL, and enforces references whoever changes rows.

    Source: https://sqlite.org/pragma.html (integrity_check, foreign_key_check).
    """
    references: list[str] = []
    if connection.dialect.name == "sqlite":
        if broken := list(_broken_structure(connection)):
            return broken
        references = list(_dangling_references(connection))
    return [*references, *_wrong_sizes(connection), *find_differences(connection), *find_wrong_number(connection)]


def _broken_structure(connection: Connection) -> Iterator[str]:
    report = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    for line in "\n".join(report).splitlines():
        if line != "ok" and not line.startswith("***"):
            yield f"database: {line}"


def _dangling_references(connection: Connection) -> Iterator[str]:
    references = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    for (table, parent), count in Counter((row.table, row.parent) for row in references).items():
        yield f"database: rows in table {table} that refer to no row of table {parent}: {count}"


def _wrong_sizes(connection: Connection) -> Iterator[str]:
    stored = dict(connection.execute(_STORED_SIZES).all())
    for chunk in in_chunks(stored):
        counted = read_reached(connection, chunk).bytes_by_root()
        for digest in sorted(chunk):
            if stored[digest] != counted[digest]:
                yield f"manifest {digest} has a recorded content of {stored[digest]} bytes instead of {counted[digest]}"
