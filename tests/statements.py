"""What an operation costs the database, counted.

On PostgreSQL these are counted where libpq sends and receives, so everything is: BEGIN, COMMIT, the locks of transactions and of sessions.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from psycopg.pq import TransactionStatus
from sqlalchemy import event
from sqlalchemy.engine import Engine as Database

from stowage.services.metadata.bounded_connection import BoundedConnection

_WRITES = ("BEGIN IMMEDIATE", "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SELECT pg_advisory_xact_lock")
_CALLERS = 3


@dataclass
class Sent:
    """What was sent: write transactions, statements, and on PostgreSQL round trips. A statement with several rows of values is one.

    `by_caller` has how often each statement was executed, and the functions that did it, the innermost first.
    """

    writes: int = 0
    statements: int = 0
    round_trips: int = 0
    by_caller: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, statement: str) -> None:
        self.statements += 1
        self.writes += statement.startswith(_WRITES)
        self.by_caller[" ".join(statement.split())[:80], _callers()] += 1


@contextmanager
def counted() -> Iterator[Sent]:
    """Count what all threads send while inside."""
    sent, traces, pooled = Sent(), dict[BoundedConnection, IO[bytes]](), set[Any]()
    wait = BoundedConnection.wait

    def note(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        pooled.add(connection.connection.dbapi_connection)
        sent.note(statement)

    def tracing(connection: BoundedConnection, *arguments: Any, **options: Any) -> Any:
        if connection not in traces:
            traces[connection] = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
            connection.pgconn.trace(traces[connection].fileno())
        return wait(connection, *arguments, **options)

    def end(connection: Any, statement: str) -> None:
        if _is_in_transaction(connection.connection.dbapi_connection):  # otherwise nothing is sent
            sent.note(statement)

    listeners: list[tuple[str, Any]] = [
        ("before_cursor_execute", note),
        ("commit", lambda connection: end(connection, "COMMIT")),
        ("rollback", lambda connection: end(connection, "ROLLBACK")),
    ]
    for name, listener in listeners:
        event.listen(Database, name, listener)
    BoundedConnection.wait = tracing  # type: ignore[method-assign, assignment]
    try:
        yield sent
    finally:
        BoundedConnection.wait = wait  # type: ignore[method-assign]
        for name, listener in listeners:
            event.remove(Database, name, listener)
        for connection, trace in traces.items():
            if not connection.closed:
                connection.pgconn.untrace()
            _read(sent, trace, is_pooled=connection in pooled)


def _is_in_transaction(connection: Any) -> bool:
    if isinstance(connection, BoundedConnection):
        return connection.info.transaction_status != TransactionStatus.IDLE
    return bool(connection.in_transaction)


def _read(sent: Sent, trace: IO[bytes], *, is_pooled: bool) -> None:
    """Count the round trips of a connection, and what it executed if SQLAlchemy did not see it: the locks of a session."""
    with trace:
        trace.seek(0)
        lines = trace.read().decode(errors="replace")
    sent.round_trips += lines.count("\tReadyForQuery\t")
    if not is_pooled:
        locks = lines.count("\tExecute\t") + lines.count("\tQuery\t")
        sent.statements += locks
        sent.by_caller["locks between nodes", ""] += locks


def _callers() -> str:
    """The functions of services that are being executed, but for those of the metadata store itself."""
    found: list[str] = []
    frame = sys._getframe()
    while frame.f_back and len(found) < _CALLERS:
        frame = frame.f_back
        path = re.search(r"/services/(?!metadata/(?:store|database|postgresql|sqlite)\.)(\w+/\w+)\.py$", frame.f_code.co_filename)
        if path and "/tests/" not in frame.f_code.co_filename and not frame.f_code.co_name.startswith("<"):
            found.append(f"{path[1]}: {frame.f_code.co_name}")
    return " < ".join(found)
