"""Checks of the database, and the rows of targets.py derived again: to compare, repair or fill them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from sqlalchemy import Column, Connection, func, select, update

from stowage.services.metadata.reach import DIGESTS, read_links, walk
from stowage.services.metadata.rows import CHUNK, dump_platform, in_chunks
from stowage.services.metadata.tables import image, store, target
from stowage.services.metadata.targets import describe_targets, read_labels, read_reach, read_sizes, update_targets
from stowage.services.oci.platform import Platform

_AT_ONCE = 50
_COUNT = select(func.count()).select_from(target).scalar_subquery()
_ROWS = select(target).where(target.c.digest.in_(DIGESTS))
_NAMELESS = select(target.c.digest).where(~select(image.c.target).where(image.c.target == target.c.digest).exists())


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
    return [*references, *_find_differences(connection)]


def rebuild(connection: Connection, platform: Platform) -> None:
    """Make this the platform of the store, and derive everything again."""
    connection.execute(update(store).values(platform=dump_platform(platform)))
    for column, mend in STEPS:
        for page in _pages(connection, column):
            mend(connection, page)
    store_number(connection)


def next_page(connection: Connection, column: Column[str], after: str) -> list[str]:
    """The next distinct values of a column in their order, a page of them."""
    query = select(column).where(column > after).distinct().order_by(column).limit(CHUNK)
    return list(connection.scalars(query))


def store_number(connection: Connection) -> None:
    """Count the images again."""
    connection.execute(update(store).values(images=_COUNT))


def _mend_targets(connection: Connection, targets: list[str]) -> None:
    update_targets(connection, targets, targets, limited=False)


def _remove_nameless(connection: Connection, targets: list[str]) -> None:
    update_targets(connection, connection.scalars(_NAMELESS.where(target.c.digest.in_(targets))).all(), ())


STEPS: tuple[tuple[Column[str], Callable[[Connection, list[str]], None]], ...] = (
    (image.c.target, _mend_targets),
    (target.c.digest, _remove_nameless),
)
"""What to derive again: for each page of a column's values, what mends the rows that depend on them."""


def _broken_structure(connection: Connection) -> Iterator[str]:
    report = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    for line in "\n".join(report).splitlines():
        if line != "ok" and not line.startswith("***"):
            yield f"database: {line}"


def _dangling_references(connection: Connection) -> Iterator[str]:
    references = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    for (table, parent), count in Counter((row.table, row.parent) for row in references).items():
        yield f"database: rows in table {table} that refer to no row of table {parent}: {count}"


def _find_differences(connection: Connection) -> Iterator[str]:
    """A sentence for each target whose rows differ from what the other tables say."""
    for page in _pages(connection, image.c.target):
        for few in in_chunks(page, _AT_ONCE):
            yield from _wrong_targets(connection, few)
    for digest in connection.scalars(_NAMELESS):
        yield f"image {digest} is listed without a name"
    recorded, counted = connection.execute(select(store.c.images, _COUNT)).one()
    if recorded != counted:
        yield f"{recorded} images are recorded instead of {counted}"


def _wrong_targets(connection: Connection, targets: list[str]) -> Iterator[str]:
    rows = {row.digest: row._mapping for row in connection.execute(_ROWS, {"digests": targets})}
    ids = [row["id"] for row in rows.values()]
    labels, sizes, links = read_labels(connection, ids), read_sizes(connection, ids), read_links(connection, targets)
    for facts in describe_targets(connection, targets):
        row = rows.get(facts.digest)
        if row is None:
            yield f"image {facts.digest} is missing in lists"
            continue
        if any(row[column] != value for column, value in facts.columns().items()) or labels.get(row["id"], {}) != facts.labels:
            yield f"image {facts.digest} is listed with facts that differ from its manifests"
        if read_reach(connection, row["id"]) != walk(facts.digest, links):
            yield f"image {facts.digest} is recorded with other content than its manifests list"
        elif row["size"] != sizes.get(row["id"], 0):
            yield f"image {facts.digest} has a recorded content of {row['size']} bytes instead of {sizes.get(row['id'], 0)}"


def _pages(connection: Connection, column: Column[str]) -> Iterator[list[str]]:
    after = ""
    while page := next_page(connection, column, after):
        yield page
        after = page[-1]
