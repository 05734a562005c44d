"""What arrives on every node, in PostgreSQL: a row for each ingest, not logged, beside the lock of the transactions that change the store.

    arrival    the key of an ingest, how many bytes of it have arrived, and when that was written

While a process has ingests, a thread of it writes all of them every two seconds. An ingest that ends earlier is never written.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from stowage.services.errors import EngineError
from stowage.services.metadata.database import aside, query

_SECONDS = 2.0
_STALE_SECONDS = 8
_OLD_SECONDS = 60
_MOST_SEEN = 1024
_NOW = "extract(epoch FROM clock_timestamp())"
_WRITE = f"""INSERT INTO arrival (key, size, written_at) SELECT key, size, {_NOW} FROM unnest(%s::text[], %s::bigint[]) AS now (key, size)
ON CONFLICT (key) DO UPDATE SET size = excluded.size, written_at = excluded.written_at"""
_REMOVE = f"DELETE FROM arrival WHERE key = ANY(%s) OR written_at < {_NOW} - {_OLD_SECONDS}"
_READ = f"SELECT size FROM arrival WHERE key = %s AND written_at > {_NOW} - {_STALE_SECONDS}"

_log = logging.getLogger(__name__)


class SqlArrivals:
    """Implements `stowage.services.content.arrivals.Arrivals`. It may be made before a fork."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._shown: dict[str, Callable[[], int]] = {}
        self._written: set[str] = set()
        self._is_watched = False
        self._seen: dict[str, tuple[float, int]] = {}

    @contextmanager
    def showing(self, key: str, size: Callable[[], int]) -> Iterator[None]:
        with self._lock:
            self._shown[key] = size
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._watch, name="arrivals", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._shown.pop(key, None)

    def size(self, key: str) -> int:
        """Asks the database every two seconds at most: whoever waits asks twenty times a second."""
        asked, size = self._seen.get(key, (0.0, 0))
        if not asked or time.monotonic() - asked >= _SECONDS:
            if len(self._seen) >= _MOST_SEEN:
                self._seen = {}
            self._seen[key] = time.monotonic(), size
            try:
                size = query(self._engine(), lambda connection: _read(connection, key))
            except EngineError as exc:
                _log.warning("cannot see what arrives on other nodes: %s", exc)
            self._seen[key] = time.monotonic(), size
        return size

    def _watch(self) -> None:
        while self._is_watched:
            time.sleep(_SECONDS)
            with self._lock:
                sizes = {key: size() for key, size in sorted(self._shown.items())}
                ended, self._written = self._written - sizes.keys(), set(sizes)
                self._is_watched = bool(sizes)
            if sizes or ended:
                self._write(sizes, ended)

    def _write(self, sizes: dict[str, int], ended: set[str]) -> None:
        try:
            with aside(self._engine()) as connection:
                connection.exec_driver_sql(_REMOVE, (list(ended),))
                connection.exec_driver_sql(_WRITE, (list(sizes), list(sizes.values())))
        except EngineError as exc:
            _log.warning("cannot show other nodes what arrives here: %s", exc)


def _read(connection: Connection, key: str) -> int:
    return connection.exec_driver_sql(_READ, (key,)).scalar() or 0
