"""Transactions on SQLite.

Write-ahead log with `synchronous=FULL` (a commit is on disk when it returns), foreign keys enforced. A writer waits for
its turn (turns.py) and at BEGIN IMMEDIATE, until the timeout. A reader keeps seeing the state of its first query.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from stowage.services.errors import EngineError, Internal, OutOfSpace, Unavailable
from stowage.services.metadata.modes import Mode
from stowage.services.metadata.turns import Turns
from stowage.services.metadata.watch import Watch

Answer = TypeVar("Answer")

_IDLE_CONNECTIONS = 8
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -1024",  # KiB; every thread may have a connection
)
_LOG_BYTES = 8 << 20
"""Twice the size at which SQLite starts the log over."""

_PREFIX = "sqlite:///"
_WATCH = "stowage_watch"
_TURNS = "stowage_turns"

_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})


def open_engine(url: str, *, timeout: int) -> Engine:
    """A pool of connections that grows with the threads that need one at the same time. What follows `sqlite:///` is the path as it is."""
    if not url.startswith(_PREFIX):
        raise Internal(f"cannot use the database {url}: it is neither sqlite:///PATH nor a URL of PostgreSQL")
    engine = create_engine(
        URL.create("sqlite", database=url.removeprefix(_PREFIX)),
        pool_size=_IDLE_CONNECTIONS,
        max_overflow=-1,
        pool_use_lifo=True,
        connect_args={"timeout": timeout, "isolation_level": None},
    )
    if engine.url.database:
        _make_private(engine.url.database)
    event.listen(engine, "connect", _configure)
    watch = Watch(lambda: _own_connection(engine))
    engine.update_execution_options(**{_WATCH: watch, _TURNS: Turns(engine.url.database or "", timeout)})
    event.listen(engine, "engine_disposed", lambda _: watch.close())
    return engine


@contextmanager
def transaction(engine: Engine, mode: Mode) -> Iterator[Connection]:
    """One transaction, rolled back when the context raises."""
    with engine.connect() as connection, connection.begin():
        # A listener for this event of SQLAlchemy would make every statement look for listeners.
        if mode is Mode.READ:
            connection.exec_driver_sql("BEGIN")
        else:
            _begin_writing(connection)
        yield connection


def query(engine: Engine, read: Callable[[Connection], Answer]) -> Answer:
    """What one query finds."""
    with engine.connect() as connection:
        return read(connection)


def version(engine: Engine) -> object:
    """The same object as before if nothing was committed since then."""
    watch: Watch = engine.get_execution_options()[_WATCH]
    return watch.version()


def translate(error: SQLAlchemyError) -> EngineError:
    """The project's own error for one of SQLite."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", 0)
    if code in _FULL:
        return OutOfSpace("no space left on device")
    if code & 0xFF == sqlite3.SQLITE_BUSY:
        return Unavailable("the database is busy: try again")
    return Internal(f"metadata store: {cause}")


def require_file(engine: Engine) -> None:
    """Raise Internal if the file is gone or may not be written."""
    path = engine.url.database or ""
    try:
        os.stat(path)
        if not os.access(path, os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as exc:
        raise Internal(f"metadata store: {exc.strerror}") from exc


def _begin_writing(connection: Connection) -> None:
    """Wait for a turn and then for whoever writes now, together no longer than the timeout."""
    turns: Turns = connection.engine.get_execution_options()[_TURNS]
    driver = cast("sqlite3.Connection", connection.connection.driver_connection)
    with turns.taken() as seconds:
        driver.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}")
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        finally:
            driver.execute(f"PRAGMA busy_timeout = {1000 * turns.timeout}")


def _own_connection(engine: Engine) -> DBAPIConnection:
    """A connection that is configured as all are, and does not belong to the pool."""
    checked_out = engine.raw_connection()
    connection = checked_out.driver_connection
    checked_out.detach()
    return cast("DBAPIConnection", connection)


def _make_private(database: str) -> None:
    """Make the file, and those that SQLite has beside it, its user's alone: whoever may read them may also hold locks on them.

    It is created if it is missing. SQLite gives new files beside it the same mode, and reports any failure. A file that exists is not
    opened: to close it would release the locks that other connections of this process have.
    """
    file = os.path.realpath(database)
    with suppress(OSError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    for path in (file, f"{file}-wal", f"{file}-shm"):
        with suppress(OSError):
            if os.stat(path).st_mode & 0o077:
                os.chmod(path, 0o600)


def _configure(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.execute("PRAGMA database_list")
    _reserve_log(cursor.fetchall()[0][2])
    cursor.close()


def _reserve_log(database: str) -> None:
    """Reserve space for the write-ahead log while there is some: otherwise images could not be deleted on a full disk.

    SQLite reads the log up to the first invalid frame, so it ignores zeros at the end.
    """
    with suppress(OSError):
        handle = os.open(f"{database}-wal", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.posix_fallocate(handle, 0, _LOG_BYTES)
        finally:
            os.close(handle)
