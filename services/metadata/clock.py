"""The clock of the database."""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement
from sqlalchemy.ext.compiler import compiles


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
