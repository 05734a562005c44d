"""Connections to PostgreSQL whose waits are all bounded, and which reserve the database for one place.

The place is the folder of the content on its machine. Every connection holds a shared session lock that stands for its place, and none is
made while another place has one. So a connection that can write proves that no other machine or folder uses the database. If all
connections are lost, the next one reserves it again, unless another place has come first.
"""

from __future__ import annotations

import hashlib
import math
import time
from contextlib import suppress
from typing import Any, TypeVar

from psycopg import Connection, OperationalError, ProgrammingError, errors
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import Diagnostic
from psycopg.pq import TransactionStatus

from stowage.services.errors import InvalidParameter, Unavailable, Unsupported

_Answer = TypeVar("_Answer")

_LEAST_VERSION = 13
_RETRY_SECONDS = 0.2
_JOINING, _PLACES = int.from_bytes(b"joining"), int.from_bytes(b"plac")
_JOIN = f"""BEGIN;
SELECT pg_advisory_xact_lock({_JOINING});
SELECT pg_advisory_lock_shared({_PLACES}, {{place}}) WHERE NOT EXISTS (
    SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE datname = current_database() AND locktype = 'advisory' AND classid = {_PLACES} AND objsubid = 2 AND objid <> {{place}}
);
COMMIT"""
_BACKEND = "SELECT pg_backend_pid()"


class BoundedConnection(Connection[Any]):
    """Closed when an answer takes too long: a server process that is stopped neither answers nor ends the connection."""

    _answer_seconds = _deadline = math.inf
    warning = ""
    """The last warning from the server. A commit that a standby has not confirmed is one."""

    def limit(self, answer_seconds: float, deadline: float) -> None:
        """From now on, wait at most this long for each answer, and not beyond the deadline on the monotonic clock."""
        self._answer_seconds, self._deadline = answer_seconds, deadline

    @property
    def is_aborted(self) -> bool:
        """Whether a statement of the transaction has failed."""
        return self.info.transaction_status == TransactionStatus.INERROR

    def wait(self, gen: PQGen[_Answer], interval: float = 0.1, timeout: float | None = None) -> _Answer:
        """Wait for an answer as psycopg does, within the limits."""
        seconds = min(self._answer_seconds, self._deadline - time.monotonic())
        try:
            return super().wait(gen, interval, None if math.isinf(seconds) else max(0, seconds))
        except errors._WaitTimeout:
            self.close()
            raise OperationalError("the server did not answer in time") from None


def connect(conninfo: str, *, timeout: int, place: str) -> BoundedConnection:
    """A new connection, in autocommit mode. The URL, the environment and the files of libpq say where to and as whom.

    Raises psycopg's errors, Unsupported for a server or pooler that does not fit, and Unavailable while another place uses the database.
    """
    third = -(-timeout * 1000 // 3)
    defaults = {
        "application_name": "stowage",
        "target_session_attrs": "read-write",
        "connect_timeout": max(2, timeout // 3),
        "tcp_user_timeout": third,
        "keepalives_idle": max(1, timeout // 3),
        "keepalives_interval": max(1, timeout // 9),
        "keepalives_count": 3,
    }
    given = {**defaults, **_parse(conninfo), "client_encoding": "utf8"}
    connection = BoundedConnection.connect("", autocommit=True, **given)
    try:
        connection.limit(timeout * 7 / 6, math.inf)
        connection.add_notice_handler(lambda notice: _note(connection, notice))
        _require_suitable(connection, given)
        _configure(connection, timeout * 1000, third)
        if place:
            _join(connection, place, time.monotonic() + timeout / 3)
    except BaseException:
        connection.close()
        raise
    return connection


def _parse(conninfo: str) -> dict[str, Any]:
    with suppress(ProgrammingError):  # which may repeat the password
        return conninfo_to_dict(conninfo)
    raise InvalidParameter("the URL of the database is not one of PostgreSQL; special characters are written as %XX")


def _note(connection: BoundedConnection, notice: Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        connection.warning = notice.message_primary or "warning"


def _require_suitable(connection: BoundedConnection, given: dict[str, Any]) -> None:
    info = connection.info
    if info.server_version < _LEAST_VERSION * 10000:
        raise Unsupported(f"PostgreSQL {_LEAST_VERSION} or newer is needed; the server has {info.parameter_status('server_version')}")
    if (encoding := info.parameter_status("server_encoding")) != "UTF8":
        raise Unsupported(
            f"the database must have the encoding UTF8, not {encoding}: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    if _backend(connection) != info.backend_pid:  # a pooler answers with a number of its own
        _require_sessions(connection, given)


def _require_sessions(connection: BoundedConnection, given: dict[str, Any]) -> None:
    """Refuse a pooler that gives a server's session to another client between transactions: locks and settings are of the session."""
    first = _backend(connection)
    with BoundedConnection.connect("", autocommit=True, **given) as other:
        other.limit(connection._answer_seconds, math.inf)
        other.execute("BEGIN")
        if _backend(other) == first or _backend(connection) != first:
            raise Unsupported("the pooler before the database must be in session mode (PgBouncer: pool_mode = session), or be left out")


def _backend(connection: BoundedConnection) -> int:
    (pid,) = connection.execute(_BACKEND).fetchone() or (0,)
    return int(pid)


def _configure(connection: BoundedConnection, timeout: int, third: int) -> None:
    """Bound what the server waits for, in milliseconds, and have a commit on disk when it returns."""
    settings = {
        "statement_timeout": timeout,
        # What is not scanned as a whole is looked up by an index. The planner does not know how few rows a recursion finds, and would
        # join them to all rows of a table.
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        # Of a table that it knows nothing about, it would otherwise read all rows to find the few beyond a time.
        "random_page_cost": 1.1,
        # Nor has it any statistics of new tables: it would take longer to compile a query that it expects to be long than to run it.
        "jit": "off",
        "idle_in_transaction_session_timeout": third,
        "tcp_user_timeout": third,
        "tcp_keepalives_idle": max(1, third // 1000),
        "tcp_keepalives_interval": max(1, third // 3000),
        "tcp_keepalives_count": 3,
    }
    connection.execute("; ".join(f"SET {name} = {value}" for name, value in settings.items()))
    connection.execute("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")


def _join(connection: BoundedConnection, place: str, deadline: float) -> None:
    """Reserve the database for this place. Connections of a process that was just killed may take a moment to end."""
    statement = _JOIN.format(place=int.from_bytes(hashlib.sha256(place.encode()).digest()[:4]) >> 1)
    while True:
        cursor = connection.execute(statement)
        cursor.nextset()
        cursor.nextset()
        if cursor.fetchone() is not None:
            return
        if time.monotonic() > deadline:
            raise Unavailable("another Stowage uses this database, on another machine or with another content folder or bucket")
        time.sleep(_RETRY_SECONDS)
