"""The board of running transfers in PostgreSQL, for all nodes of a store: unlogged rows, written without the lock of the store's writers.

    running_transfers    the page of each process, and when it was renewed
    transfer_end         the transfers that somebody wants to end, until the process that runs one takes its row

Times are seconds since 1970, by the database's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from sqlalchemy import Engine

from stowage.services.metadata.database import aside, transaction
from stowage.services.transfer_board import STALE_SECONDS

_OLD_SECONDS = 60
_NOW = "extract(epoch FROM clock_timestamp())"
_POST = f"""INSERT INTO running_transfers (process, page, renewed_at) VALUES (%s, %s, {_NOW})
ON CONFLICT (process) DO UPDATE SET page = excluded.page, renewed_at = excluded.renewed_at"""
_REMOVE_OLD = (
    f"DELETE FROM running_transfers WHERE renewed_at < {_NOW} - {_OLD_SECONDS}",
    f"DELETE FROM transfer_end WHERE asked_at < {_NOW} - {_OLD_SECONDS}",
)
_TAKE = "DELETE FROM transfer_end WHERE transfer = ANY(%s) RETURNING transfer"
_CLEAR = "DELETE FROM running_transfers WHERE process = %s"
_PAGES = f"SELECT process, page FROM running_transfers WHERE renewed_at > {_NOW} - {STALE_SECONDS}"
_END = f"INSERT INTO transfer_end (transfer, asked_at) VALUES (%s, {_NOW}) ON CONFLICT (transfer) DO NOTHING"


class SqlBoard:
    """Implements `stowage.services.transfer_board.TransferBoard`."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    def post(self, process: str, page: str, transfers: Collection[str]) -> set[str]:
        with aside(self._engine()) as connection:
            connection.exec_driver_sql(_POST, (process, page))
            for statement in _REMOVE_OLD:
                connection.exec_driver_sql(statement)
            return set(connection.exec_driver_sql(_TAKE, (list(transfers),)).scalars())

    def clear(self, process: str) -> None:
        with aside(self._engine()) as connection:
            connection.exec_driver_sql(_CLEAR, (process,))

    def pages(self) -> dict[str, str]:
        with transaction(self._engine(), writes=False) as connection:
            return {row.process: row.page for row in connection.exec_driver_sql(_PAGES)}

    def end(self, transfer: str) -> None:
        with aside(self._engine()) as connection:
            connection.exec_driver_sql(_END, (transfer,))
