"""Transactions on the database that a URL names, and the boundary where its errors become the project's own."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from stowage.services.errors import Internal
from stowage.services.metadata import postgresql, sqlite
from stowage.services.metadata.writers import Mode

Answer = TypeVar("Answer")

TIMEOUT_SECONDS = 30
"""How long a transaction waits for its turn, and PostgreSQL for more; see `stowage.services.metadata.postgresql`."""


def open_engine(url: str, *, timeout: int = TIMEOUT_SECONDS, place: str = "") -> Engine:
    """The engine of a database, without a connection yet. Raises Internal for an unusable URL, and Unsupported without the driver.

    `place` says on which machine and in which folder the content is: PostgreSQL refuses connections while others have another place.
    """
    try:
        if postgresql.is_url(url):
            return postgresql.open_engine(url, timeout=timeout, place=place)
        return sqlite.open_engine(url, timeout=timeout)
    except SQLAlchemyError as exc:
        raise Internal(f"cannot use the database {url}: {exc}") from exc


@contextmanager
def transaction(engine: Engine, *, writes: bool, migrates: bool = False) -> Iterator[Connection]:
    """One transaction, rolled back when the context raises; raises OutOfSpace, Unavailable or Internal for what the database raises."""
    mode = Mode.MIGRATE if migrates else Mode.WRITE if writes else Mode.READ
    database = _database(engine)
    try:
        with database.transaction(engine, mode) as connection:
            yield connection
    except SQLAlchemyError as exc:
        raise database.translate(exc) from exc


@contextmanager
def aside(engine: Engine) -> Iterator[Connection]:
    """A transaction on PostgreSQL that changes rows of which no other depends, and so takes no turn; raises as `transaction` does."""
    try:
        with postgresql.transaction(engine, Mode.ASIDE) as connection:
            yield connection
    except SQLAlchemyError as exc:
        raise postgresql.translate(exc) from exc


def query(engine: Engine, read: Callable[[Connection], Answer]) -> Answer:
    """What `read` finds with one query, outside a transaction; raises as `transaction` does. It may be called twice."""
    database = _database(engine)
    try:
        answer: Answer = database.query(engine, read)
    except SQLAlchemyError as exc:
        raise database.translate(exc) from exc
    return answer


def version(engine: Engine) -> object | None:
    """A value that is equal to an earlier one only if nothing was committed since then; None if that is not known."""
    database = _database(engine)
    try:
        found: object | None = database.version(engine)
    except SQLAlchemyError as exc:
        raise database.translate(exc) from exc
    return found


def require_database(engine: Engine) -> None:
    """Raise Internal if the file of the database is gone or may not be written: open connections would not notice."""
    if _database(engine) is sqlite:
        sqlite.require_file(engine)


def _database(engine: Engine) -> ModuleType:
    return postgresql if engine.dialect.name == "postgresql" else sqlite


def identify(connection: Connection) -> str:
    """The server's own id and the names of the database and, unless it is the usual one, the schema on PostgreSQL, which a restored dump
    does not share; for SQLite the machine.
    """
    if connection.dialect.name == "postgresql":
        query = "SELECT system_identifier, current_database(), current_schema() FROM pg_control_system()"
        system, name, schema = connection.exec_driver_sql(query).one()
        return f"postgresql {system} {name}" + (f" {schema}" if schema != "public" else "")
    return f"sqlite on {platform.node()}"
