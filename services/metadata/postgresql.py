"""Transactions on PostgreSQL: one writer at a time, as on SQLite, and every wait is bounded.

A writer takes one advisory lock, as a statement alone so that what follows sees the rows of the writer before, and then runs READ
COMMITTED. In a process a FIFO gate stands before the lock, and the pool is bounded. A reader is REPEATABLE READ, READ ONLY. What may be
lost is written aside, without the lock.

Every bound follows from one timeout:

    the timeout        a wait for the gate, for a connection or for the lock, and any other statement
    a third of it      connecting to one address; a transaction between statements; a network that acknowledges nothing
    a sixth more       any answer, since a server process that is stopped neither answers nor ends the connection
    twice              a whole write transaction; then its client ends it, or a writer that waits does; only a migration may take longer

A commit whose answer is lost is looked up: each write leaves a random token in the row of its writer. The lookup takes the lock first, so
that the transaction in question has ended.
"""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import ARRAY, BindParameter, Connection, Engine, any_, bindparam, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import BinaryExpression
from sqlalchemy.sql.operators import in_op

from stowage.services.errors import EngineError, Internal, OutOfSpace, Unavailable, Unsupported
from stowage.services.metadata.writers import FifoLock, Mode

if TYPE_CHECKING:
    from stowage.services.metadata.bounded_connection import BoundedConnection

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)

_CONNECTIONS = 8
"""How many connections a process has at most: a server allows about a hundred in all."""

_RETRY_SECONDS = 0.5
_URL = re.compile(r"postgres(?:ql)?(?:\+psycopg)?://(.+)")
_STATE = "stowage_state"

_LOCK = int.from_bytes(b"stowage")
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_ALONE = f"BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SELECT pg_advisory_xact_lock({_LOCK})"
_ASIDE = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL synchronous_commit = off"
_MIGRATE = f"{_ALONE}; SET LOCAL statement_timeout = 0; SET LOCAL application_name = 'stowage migration'"
_END_OVERDUE = f"""SELECT pid, pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND classid = {_LOCK >> 32} AND objid = {_LOCK & 0xFFFFFFFF} AND objsubid = 1 AND granted
AND datname = current_database() AND application_name <> 'stowage migration' AND xact_start < clock_timestamp() - interval '%d seconds'"""
_NOW = "CAST(extract(epoch FROM clock_timestamp()) AS bigint)"
_WRITE = (
    f"{_ALONE}; INSERT INTO last_write VALUES ('%s', '%s', {_NOW}) "
    "ON CONFLICT (writer) DO UPDATE SET token = excluded.token, written_at = excluded.written_at; "
    f"DELETE FROM last_write WHERE written_at < {_NOW} - 86400"
)
_VERSION = "SELECT md5(string_agg(token, '' ORDER BY writer)) FROM last_write"
_WRITTEN = "SELECT FROM last_write WHERE writer = '%s' AND token = '%s'"

_FULL = "53100"
_READ_ONLY = "25006"
_BUSY = frozenset({"57014", "55P03", "40001", "40P01"})
"""query_canceled (by statement_timeout), lock_not_available, serialization_failure (on a standby), deadlock_detected."""

_AWAY = ("08", "53", "57P", "25P03")
"""What says that the server or this connection cannot be used now: connection_exception, insufficient_resources, operator_intervention,
idle_in_transaction_session_timeout.
"""


@dataclass(frozen=True, slots=True)
class _State:
    """State shared by the transactions of an engine."""

    timeout: int
    gate: FifoLock = field(default_factory=FifoLock)
    _id: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def writer(self) -> str:
        """The row of its tokens. An engine without connections may cross a fork, and then two processes use it."""
        return f"{self._id}-{os.getpid()}"


class _AnswerLost(Exception):
    """The connection was lost during COMMIT."""


def is_url(url: str) -> bool:
    """Whether this is a URL of PostgreSQL as libpq knows it, with or without SQLAlchemy's name of the driver."""
    return _URL.fullmatch(url) is not None


def open_engine(url: str, *, timeout: int, place: str) -> Engine:
    """A pool of a few connections; raises Unsupported if the driver is not installed."""
    return create_engine(
        "postgresql+psycopg://",
        creator=connector(url, timeout=timeout, place=place),
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=timeout,
        pool_use_lifo=True,
        use_native_hstore=False,
        execution_options={_STATE: _State(timeout)},
    )


def connector(url: str, *, timeout: int, place: str) -> Callable[[], BoundedConnection]:
    """A function that makes a connection; raises Unsupported if the driver is not installed."""
    try:
        from stowage.services.metadata.bounded_connection import connect
    except ImportError as exc:
        raise Unsupported(f"PostgreSQL needs psycopg: pip install 'stowage[postgresql]' ({exc})") from exc
    return partial(connect, _URL.sub(r"postgresql://\1", url), timeout=timeout, place=place)


@contextmanager
def transaction(engine: Engine, mode: Mode) -> Iterator[Connection]:
    """One transaction, rolled back when the context raises. Raises Unavailable for a commit that failed or may have failed."""
    state = _state(engine)
    if mode is Mode.READ:
        with _begun(engine, _READ) as connection:
            yield connection
        return
    if mode is Mode.ASIDE:
        with _begun(engine, _ASIDE) as connection:
            yield connection
            connection.commit()
        return
    with state.gate.held(state.timeout) as got:
        if not got:
            raise busy()
        token = secrets.token_hex(16)
        try:
            with (
                _ending_overdue(engine),
                _begun(engine, _MIGRATE if mode is Mode.MIGRATE else _WRITE % (state.writer, token)) as connection,
            ):
                yield connection
                _commit(connection)
        except _AnswerLost as lost:
            if mode is Mode.MIGRATE:
                raise Unavailable("the connection to the database was lost: whether the migration was made is not known") from lost
            _require_written(engine, token, lost)


def query(engine: Engine, read: Callable[[Connection], Answer]) -> Answer:
    """What one query finds. A statement alone is a transaction of its own, without the round trips of BEGIN and ROLLBACK."""
    try:
        return _query(engine, read)
    except DBAPIError as exc:
        if not exc.connection_invalidated:
            raise
    return _query(engine, read)  # an idle connection had been lost


def version(engine: Engine) -> object | None:
    """The tokens of the last writes of all processes, as one text; None if there was no write within a day."""
    tokens: object | None = query(engine, lambda connection: connection.exec_driver_sql(_VERSION).scalar())
    return tokens


def translate(error: SQLAlchemyError) -> EngineError:
    """The project's own error for one of PostgreSQL, of its driver or of the pool."""
    if isinstance(error, PoolTimeoutError):
        return busy()
    cause = error.orig if isinstance(error, DBAPIError) else error
    return explain(cause, is_operational=isinstance(error, OperationalError))


def explain(cause: BaseException | None, *, is_operational: bool = True) -> EngineError:
    """The project's own error for one of the driver; an operational one without a code is that of a connection."""
    message = " ".join(str(cause).split())
    code = getattr(cause, "sqlstate", None) or ""
    if code == _FULL:
        return OutOfSpace("no space left on device")
    if code in _BUSY:
        return busy()
    if code == _READ_ONLY:
        return Unavailable(f"the database is read-only: {message}")
    if code.startswith(_AWAY) or (not code and is_operational):
        return Unavailable(f"the database is unreachable: {message}")
    return Internal(f"metadata store: {message}")


def busy() -> Unavailable:
    """A wait was too long."""
    return Unavailable("the database is busy: try again")


def _state(engine: Engine) -> _State:
    state: _State = engine.get_execution_options()[_STATE]
    return state


def _driver(connection: Connection) -> BoundedConnection:
    return cast("BoundedConnection", connection.connection.dbapi_connection)


@contextmanager
def _begun(engine: Engine, statement: str) -> Iterator[Connection]:
    """A connection in a transaction. Idle connections may have been lost since they were used, so the first loss is no error."""
    try:
        connection = _connect(engine, statement)
    except DBAPIError as exc:
        if not exc.connection_invalidated:
            raise
        connection = _connect(engine, statement)
    with connection:
        yield connection


def _connect(engine: Engine, statement: str) -> Connection:
    connection, timeout = engine.connect(), _state(engine).timeout
    try:
        connection.begin()
        driver = _driver(connection)
        driver.limit(timeout * 7 / 6, math.inf if statement == _READ else time.monotonic() + 2 * timeout)
        connection.exec_driver_sql(statement)
        if statement == _MIGRATE:
            driver.limit(math.inf, math.inf)
    except BaseException:
        connection.close()
        raise
    return connection


def _query(engine: Engine, read: Callable[[Connection], Answer]) -> Answer:
    with engine.connect() as connection:
        _driver(connection).limit(_state(engine).timeout * 7 / 6, math.inf)
        return read(connection)


@contextmanager
def _ending_overdue(engine: Engine) -> Iterator[None]:
    """If the lock could not be taken, end the transaction that holds it, if that is overdue.

    Its client may have been stopped before it read an answer, which no timeout of the server notices on a unix socket. A server process
    that is stopped itself ends only when it goes on, or is killed by somebody who reads the log.
    """
    try:
        yield
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) in _BUSY:
            with suppress(SQLAlchemyError), _begun(engine, _READ) as connection:
                for pid, _ in connection.exec_driver_sql(_END_OVERDUE % (2 * _state(engine).timeout)):
                    _log.warning("server process %s of PostgreSQL has held up all changes for too long and was told to end", pid)
        raise


def _commit(connection: Connection) -> None:
    driver = _driver(connection)
    if driver.is_aborted:
        raise Internal("metadata store: a transaction was continued after an error")  # COMMIT would roll back and report success
    driver.limit(_state(connection.engine).timeout * 7 / 6, math.inf)
    driver.warning = ""
    try:
        connection.commit()
    except DBAPIError as exc:
        if exc.connection_invalidated:
            raise _AnswerLost from exc
        raise
    if driver.warning:
        raise Unavailable(f"the database may lose the last change: {driver.warning}")


def _require_written(engine: Engine, token: str, lost: _AnswerLost) -> None:
    """Return if the transaction with this token was committed; raise Unavailable if it was not, or if that cannot be found out."""
    last = time.monotonic() + _state(engine).timeout
    while True:
        try:
            with _begun(engine, _ALONE) as connection:
                written = connection.exec_driver_sql(_WRITTEN % (_state(engine).writer, token)).first()
                break
        except SQLAlchemyError as exc:
            if time.monotonic() > last:
                raise Unavailable(f"{translate(exc)}; whether the last change was made is not known") from lost
            time.sleep(_RETRY_SECONDS)
    if written is None:
        raise Unavailable("the connection to the database was lost before the last change was made: try again") from lost


@compiles(BinaryExpression, "postgresql")
def _compile(expression: BinaryExpression[Any], compiler: SQLCompiler, **options: Any) -> str:
    """Write `column = ANY(:values)` instead of `column IN (:values)`, if the values have a name of their own: one statement for any number.

    The values are one parameter, an array: as many parameters as values take longer to write than to look up.
    """
    values = expression.right
    if expression.operator is in_op and isinstance(values, BindParameter) and values.expanding and not values.unique:
        array = bindparam(values.key, type_=ARRAY(expression.left.type))
        return compiler.process(expression.left == any_(array), **options)
    written: str = compiler.visit_binary(expression, **options)  # type: ignore[no-untyped-call]
    return written
