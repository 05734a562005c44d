"""The derived columns counted again from the other tables, a page at a time: to fill them, and to check what upkeep.py made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Column, Connection, bindparam, select, update

from stowage.services.metadata import reach, tables
from stowage.services.metadata.reached import read_reached, read_targets_above
from stowage.services.metadata.rows import CHUNK, dump_platform
from stowage.services.metadata.targets import TargetRows, derive
from stowage.services.metadata.upkeep import USERS
from stowage.services.oci.platform import Platform

_STORE_USERS = update(tables.blob).where(tables.blob.c.digest == bindparam("of")).values(users=bindparam("counted"))
_STORE_SHARED = update(tables.target).where(tables.target.c.digest == bindparam("of")).values(shared=bindparam("bytes"))
_SHARED = select(tables.target.c.digest, tables.target.c.shared).where(tables.target.c.digest.in_(reach.DIGESTS))
_ROWS = select(tables.target).where(tables.target.c.digest.in_(reach.DIGESTS))


def rebuild(connection: Connection, platform: Platform) -> None:
    """Make this the platform of the store, and derive everything again."""
    connection.execute(update(tables.store).values(platform=dump_platform(platform)))
    for column, mend in STEPS:
        for digests in _pages(connection, column):
            mend(connection, digests)


def next_page(connection: Connection, column: Column[str], after: str) -> list[str]:
    """The next distinct values of a column in their order, a page of them."""
    query = select(column).where(column > after).distinct().order_by(column).limit(CHUNK)
    return list(connection.scalars(query))


def _mend_targets(connection: Connection, targets: list[str]) -> None:
    rows = TargetRows(connection)
    rows.store(list(derive(connection, targets)), rows.read(targets))


def _remove_nameless(connection: Connection, targets: list[str]) -> None:
    named = connection.scalars(select(tables.image.c.target).where(tables.image.c.target.in_(targets)))
    TargetRows(connection).remove(set(targets) - set(named))


def _mend_users(connection: Connection, digests: list[str]) -> None:
    if wrong := _wrong_users(connection, digests)[1]:
        connection.execute(_STORE_USERS, [{"of": digest, "counted": counted} for digest, counted in wrong.items()])


def _mend_shared(connection: Connection, targets: list[str]) -> None:
    if wrong := _wrong_shared(connection, targets)[1]:
        connection.execute(_STORE_SHARED, [{"of": digest, "bytes": counted} for digest, counted in wrong.items()])


STEPS: tuple[tuple[Column[str], Callable[[Connection, list[str]], None]], ...] = (
    (tables.image.c.target, _mend_targets),
    (tables.target.c.digest, _remove_nameless),
    (tables.blob.c.digest, _mend_users),
    (tables.target.c.digest, _mend_shared),
)
"""What to count again, in this order: for each page of a column's values, what mends the rows that depend on them."""


def find_differences(connection: Connection) -> Iterator[str]:
    """A sentence for each row whose derived columns differ from what the other tables say."""
    for targets in _pages(connection, tables.image.c.target):
        yield from _wrong_targets(connection, targets)
    named = select(tables.image.c.target).where(tables.image.c.target == tables.target.c.digest)
    for digest in connection.scalars(select(tables.target.c.digest).where(~named.exists())):
        yield f"image {digest} is listed without a name"
    for digests in _pages(connection, tables.blob.c.digest):
        stored, wrong = _wrong_users(connection, digests)
        for digest, counted in wrong.items():
            yield f"blob {digest} is recorded as part of {stored[digest]} images instead of {counted}"
    for targets in _pages(connection, tables.target.c.digest):
        stored, wrong = _wrong_shared(connection, targets)
        for digest, counted in wrong.items():
            yield f"image {digest} has {stored[digest]} recorded shared bytes instead of {counted}"


def _wrong_targets(connection: Connection, targets: list[str]) -> Iterator[str]:
    rows = {row.digest: row._mapping for row in connection.execute(_ROWS, {"digests": targets})}
    labels = TargetRows(connection).labels([row["id"] for row in rows.values()])
    for facts in derive(connection, targets):
        row = rows.get(facts.digest)
        if row is None:
            yield f"image {facts.digest} is missing in lists"
        elif row["outdated"]:
            continue  # whoever changed what it lists, or the next writer, is about to derive it again
        elif any(row[column] != value for column, value in facts.columns().items()) or labels.get(row["id"], {}) != facts.labels:
            yield f"image {facts.digest} is listed with facts that differ from its manifests"


def _wrong_users(connection: Connection, digests: list[str]) -> tuple[dict[str, int], dict[str, int]]:
    """The recorded numbers of users of these blobs, and those that should be others."""
    stored = _read(connection, USERS, digests)
    above = read_targets_above(connection, stored)
    counted = {digest: len(above.get(digest, ())) for digest in stored}
    return stored, {digest: counted[digest] for digest in stored if counted[digest] != stored[digest]}


def _wrong_shared(connection: Connection, targets: list[str]) -> tuple[dict[str, int], dict[str, int]]:
    """The recorded shared bytes of these targets, and those that should be others."""
    stored, reached = _read(connection, _SHARED, targets), read_reached(connection, targets)
    counted = reached.bytes_by_root(lambda digest: reached.users[digest] > 1)
    return stored, {digest: counted[digest] for digest in stored if counted[digest] != stored[digest]}


def _pages(connection: Connection, column: Column[str]) -> Iterator[list[str]]:
    after = ""
    while page := next_page(connection, column, after):
        yield page
        after = page[-1]


def _read(connection: Connection, query: Any, digests: list[str]) -> dict[str, int]:
    return dict(connection.execute(query, {"digests": digests}).all())
