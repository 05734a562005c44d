"""Whether anything was committed to a database of SQLite, by whichever connection of whichever process.

`PRAGMA data_version` changes when another connection commits, which SQLite sees in the memory that all connections share. The connection of
a watch does nothing else, so every commit is another's. It takes no lock that a writer waits for.

Source: https://www.sqlite.org/pragma.html#pragma_data_version
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError


class Watch:
    """A connection that notices commits; `connect` makes it when it is first needed."""

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
