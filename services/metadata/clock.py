"""The clock of the database."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import BigInteger, ColumnElement, text
from sqlalchemy.ext.compiler import compiles

from stowage.services.errors import EngineError

NANOSECONDS_NOW = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000000 AS bigint)")
"""Only for PostgreSQL."""

_MINUTE = 60_000_000_000


class _Now(ColumnElement[int]):
    type = BigInteger()
    inherit_cache = True


@compiles(_Now, "sqlite")
def _now_of_sqlite(*_: object, **__: object) -> str:
    return "CAST(strftime('%s', 'now') AS INTEGER)"


@compiles(_Now, "postgresql")
def _now_of_postgresql(*_: object, **__: object) -> str:
    # Not the time of the transaction, which began before it waited for its turn; and not clock_timestamp(), which uses no index.
    return "CAST(floor(extract(epoch FROM statement_timestamp())) AS bigint)"


NOW = _Now()
"""The database's clock, in seconds since 1970: one clock for every node."""


class ServerClock:
    """The clock of a database server, as this process knows it: read once a minute, and in between as much later as time has passed here.

    So the clock of the machine may be wrong, and differ from those of other nodes. `read` asks the server.
    """

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._ahead: int | None = None
        self._due = 0

    def __call__(self) -> int:
        """Nanoseconds since 1970; raises as `read` does if the server was never asked."""
        ahead, now = self._ahead, time.monotonic_ns()
        if ahead is None or now >= self._due:
            self._due = now + _MINUTE
            try:
                ahead = self._ahead = self._read() - time.monotonic_ns()
            except EngineError:
                if ahead is None:
                    raise
        return ahead + time.monotonic_ns()
