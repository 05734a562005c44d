"""Transactions on SQLite.

Write-ahead log with `synchronous=FULL` (a commit is on disk when it returns), foreign keys enforced. A writer waits for
its turn and at BEGIN IMMEDIATE, until the timeout. A reader keeps seeing the state of its first query.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from stowage.services.errors import EngineError, Internal, OutOfSpace, Unavailable
from stowage.services.files import open_lock_file
from stowage.services.metadata.writers import FifoLock, Mode

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
_QUEUE = "stowage_queue"

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
    watch = _CommitWatch(lambda: _own_connection(engine))
    engine.update_execution_options(**{_WATCH: watch, _QUEUE: _WriterQueue(engine.url.database or "", timeout)})
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
    watch: _CommitWatch = engine.get_execution_options()[_WATCH]
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
    queue: _WriterQueue = connection.engine.get_execution_options()[_QUEUE]
    driver = cast("sqlite3.Connection", connection.connection.driver_connection)
    with queue.turn() as seconds:
        driver.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}")
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        finally:
            driver.execute(f"PRAGMA busy_timeout = {1000 * queue.timeout}")


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


_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02


@dataclass(frozen=True, slots=True)
class _WriterQueue:
    """The queue of the writers of a database, where each waits for SQLite in its turn, no longer than `timeout` seconds in all.

    A writer that waits for SQLite does not queue: it retries up to ten times a second, and may find the database locked each time while
    another writes without a pause. So one at a time waits: the threads of a process in their order, and of the processes the one that
    holds an flock on a file beside the database. Whoever has written needs that lock for its next transaction, and gets it after the one
    that waits.
    """

    database: str
    timeout: int
    _gate: FifoLock = field(default_factory=FifoLock)

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Take a turn; yields how many seconds are left to wait, 0 if there was none in time."""
        deadline = time.monotonic() + self.timeout
        with ExitStack() as held:
            is_first = held.enter_context(self._gate.held(self.timeout)) and held.enter_context(self._lock(deadline))
            yield max(deadline - time.monotonic(), 0) if is_first else 0

    @contextmanager
    def _lock(self, deadline: float) -> Iterator[bool]:
        """Hold the lock of all processes; yields whether it was got in time. Where it cannot be had, nobody waits for it."""
        try:
            handle = open_lock_file(f"{os.path.realpath(self.database)}-turn")
        except OSError:
            yield True
            return
        try:
            yield _acquire(handle, deadline)
        finally:
            os.close(handle)


def _acquire(handle: int, deadline: float) -> bool:
    pause = _FIRST_PAUSE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        except OSError:  # a file system without such locks
            return True
        else:
            return True


class _CommitWatch:
    """A connection that notices commits of any connection of any process; `connect` makes it when it is first needed.

    `PRAGMA data_version` changes when another connection commits, which SQLite sees in the memory that all connections share. This
    connection does nothing else, so every commit is another's. It takes no lock that a writer waits for.

    Source: https://www.sqlite.org/pragma.html#pragma_data_version
    """

    def __init__(self, connect: Callable[[], DBAPIConnection]) -> None:
        self._connect = connect
        self._connection: DBAPIConnection | None = None
        self._number: object = None
        self._version = object()
        self._lock = threading.Lock()

    def version(self) -> object:
        """The same object as before if nothing was committed since then. It is a new one whenever that cannot be found out."""
        with self._lock:
            try:
                number = self._read()
            except (sqlite3.Error, SQLAlchemyError):
                self._end()
                return self._version
            if number != self._number:
                self._number, self._version = number, object()
            return self._version

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        with self._lock:
            self._end()

    def _read(self) -> object:
        if self._connection is None:
            self._connection = self._connect()
        cursor = self._connection.cursor()
        cursor.execute("PRAGMA data_version")
        ((number,),) = cursor.fetchall()
        return number

    def _end(self) -> None:
        """Forget the number: another connection counts from another one."""
        connection, self._connection, self._number, self._version = self._connection, None, None, object()
        if connection is not None:
            connection.close()
