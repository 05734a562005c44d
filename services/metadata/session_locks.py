"""Locks by name for the processes of all nodes, as session locks of PostgreSQL on one connection of each process.

They save work and protect nothing: a connection that is lost loses its locks, and whoever holds one is not told. A process that ends, is
killed or cut off, or stops, loses them within a third of the timeout: the server ends a session that is silent for so long (from PostgreSQL
14), and while a process has locks, a thread of it asks for something three times as often. The connection is made when a process first
wants a lock, so after any fork, and is closed when it has none.

Threads of one process that want the same name wait for each other here, and only the first of them asks the server.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from stowage.services.metadata.bounded_connection import BoundedConnection
from stowage.services.metadata.fifo_lock import FifoLock
from stowage.services.metadata.postgresql import busy, explain

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_ASK_SECONDS = 0.25
_TRY = "SELECT pg_try_advisory_lock(%s)"
_UNLOCK = "SELECT pg_advisory_unlock(%s)"


class SessionLocks:
    """Implements `stowage.services.content.locks.Locks`. Raises Unavailable while the database is unreachable."""

    def __init__(self, connect: Callable[[], BoundedConnection], timeout: int) -> None:
        self._connect, self._timeout = connect, timeout
        self._sessions: dict[int, _Session] = {}

    @contextmanager
    def held(self, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the lock, however long that takes; `waiting` is called about every 50 ms meanwhile, and may raise to give up."""
        session = self._session()
        while not session.claim(name):
            waiting()
            time.sleep(_POLL_SECONDS)
        try:
            asked = -math.inf
            while True:
                if time.monotonic() - asked >= _ASK_SECONDS:
                    if session.acquire(name):
                        break
                    asked = time.monotonic()
                waiting()
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            session.release(name)

    @contextmanager
    def attempt(self, name: str) -> Iterator[bool]:
        """Hold the lock if it is free; yields whether it was acquired. Waits for nothing but the database."""
        session = self._session()
        if not session.claim(name):
            yield False
            return
        try:
            yield session.acquire(name)
        finally:
            session.release(name)

    def _session(self) -> _Session:
        # A parent's session stays referenced in its child, where it is not used.
        return self._sessions.setdefault(os.getpid(), _Session(self._connect, self._timeout))


@dataclass(slots=True)
class _Claim:
    """A name that a thread of this process holds or asks for; `connection` is the one that has its lock."""

    connection: BoundedConnection | None = None


class _Session:
    """The connection of a process, which one thread uses at a time."""

    def __init__(self, connect: Callable[[], BoundedConnection], timeout: int) -> None:
        self._connect, self._timeout = connect, timeout
        self._gate = FifoLock()
        self._connection: BoundedConnection | None = None
        self._state = threading.Lock()
        self._claims: dict[str, _Claim] = {}
        self._surplus: list[tuple[str, BoundedConnection]] = []
        self._is_watched = False

    def claim(self, name: str) -> bool:
        """Be the only thread of the process that may ask for this name; returns whether it was free."""
        with self._state:
            if name in self._claims:
                return False
            self._claims[name] = _Claim()
            return True

    def acquire(self, name: str) -> bool:
        """Ask the server for the lock of a claimed name."""
        with self._gate.held(self._timeout) as got:
            if not got:
                raise busy()
            return self._ask(name)

    def release(self, name: str) -> None:
        """Give up a claim, and its lock if it still has it. If the connection is not free in time, the next one to use it unlocks."""
        with self._state:
            claim = self._claims.pop(name)
            if claim.connection is not None:
                self._surplus.append((name, claim.connection))
        if claim.connection is not None:
            with self._gate.held(self._timeout) as got:
                if got:
                    self._unlock()

    def _ask(self, name: str) -> bool:
        """A connection that had been lost while nobody used it is no error."""
        used = self._connection
        try:
            return self._lock(name)
        except psycopg.Error as exc:
            if used is None or not used.closed:
                raise explain(exc) from exc
        try:
            return self._lock(name)
        except psycopg.Error as exc:
            raise explain(exc) from exc

    def _lock(self, name: str) -> bool:
        self._unlock()
        connection = self._connected()
        try:
            (got,) = connection.execute(_TRY, (_key(name),)).fetchone() or (False,)
        except psycopg.Error:
            self._close()
            raise
        if got:
            self._claims[name].connection = connection
        return bool(got)

    def _unlock(self) -> None:
        """Release what is not wanted any more; nothing is left to release of a connection that was lost."""
        with self._state:
            surplus, self._surplus = self._surplus, []
        try:
            for name, connection in surplus:
                if connection is self._connection:
                    connection.execute(_UNLOCK, (_key(name),))
        except psycopg.Error:
            self._close()

    def _connected(self) -> BoundedConnection:
        if self._connection is None:
            connection = self._connect()
            connection.limit(self._timeout / 3, math.inf)
            connection.execute("SET application_name = 'stowage locks'")
            if connection.info.server_version >= 140000:
                connection.execute(f"SET idle_session_timeout = {-(-self._timeout * 1000 // 3)}")
            self._connection = connection
        with self._state:
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._watch, name="session locks", daemon=True).start()
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _watch(self) -> None:
        """Keep the session alive until it has no locks. A connection that is in use needs nothing."""
        while self._is_watched:
            time.sleep(self._timeout / 9)
            with self._gate.held(0) as got:
                if got:
                    self._beat()

    def _beat(self) -> None:
        self._unlock()
        with self._state:
            self._is_watched = bool(self._claims)
        try:
            if self._connection is not None and self._is_watched:
                self._connection.execute("SELECT")
                return
        except psycopg.Error:
            _log.warning("the connection to the database that had this process's locks was lost")
        self._close()


def _key(name: str) -> int:
    """64 bits for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
