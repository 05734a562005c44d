"""PostgreSQL as Debian has it: a cluster of the tests' own, and databases in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import delete, insert, select

from stowage.app.stopping import end_with_parent
from stowage.services.metadata.database import open_engine, transaction
from stowage.services.metadata.store import upgrade
from stowage.services.metadata.tables import METADATA
from tests.engines import PLATFORM

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
_START_SECONDS = 30
_FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_connections": "200", "shared_buffers": "32MB"}


@dataclass
class Cluster:
    """A server, its socket and data in `folder`; with a port it also listens on 127.0.0.1."""

    folder: Path
    port: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, *, user: str = "postgres", tcp: bool = False) -> str:
        where = f"127.0.0.1:{self.port}/{database}" if tcp else f"/{database}?host={self.folder}&port={self.port or 5432}"
        return f"postgresql+psycopg://{user}@{where}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection of the administrator."""
        return psycopg.connect(host=str(self.folder), port=self.port or 5432, user="postgres", dbname=database, autocommit=True)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with self.connect(database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def run(self, name: str, *arguments: str) -> None:
        """Run a program of PostgreSQL as its administrator does."""
        where = ["--host", str(self.folder), "--port", str(self.port or 5432), "--username", "postgres"]
        subprocess.run([program(name), *where, *arguments], check=True, timeout=60, **as_postgres())

    def create_database(self, name: str, template: str = "template0") -> str:
        """Create a database, and return its URL."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def create(self) -> None:
        """Make the data of the cluster. Its databases sort by the rules of a language, so that it matters if a column does not."""
        sorting = ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en"]
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", *sorting]
        subprocess.run([program("initdb"), f"--pgdata={self.folder}/data", *options], check=True, capture_output=True, **as_postgres())

    def start(self) -> None:
        listening = {"listen_addresses": "127.0.0.1" if self.port else "", "port": str(self.port or 5432)}
        settings = {**_FAST, **listening, "unix_socket_directories": str(self.folder), **self.settings}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        parent = os.getpid()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program("postgres"), "-D", f"{self.folder}/data", *options],
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever started it
                preexec_fn=lambda: end_with_parent(parent, signal.SIGQUIT),  # noqa: PLW1509 - it only calls the system
                **as_postgres(),
            )
        self._wait()

    def stop(self) -> None:
        """Stop the server at once, as after a crash, and with it every connection."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(_START_SECONDS)
            self.process = None

    def _wait(self) -> None:
        wait_until(lambda: self.connect().close())


def wait_until(connect: Callable[[], None]) -> None:
    """Call this until the server that is starting accepts a connection."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            connect()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def program(name: str) -> str:
    """The path of a program of the newest PostgreSQL, or skip the test."""
    if not _PROGRAMS:
        pytest.skip("PostgreSQL is not installed")
    return str(_PROGRAMS[-1] / name)


def as_postgres() -> dict[str, Any]:
    """Arguments of subprocess for the user postgres: the server does not run as root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": ()} if os.geteuid() == 0 else {}


@contextmanager
def running_cluster(*, port: int | None = None, **settings: str) -> Iterator[Cluster]:
    """A new cluster that runs while inside."""
    program("initdb")
    folder = Path(tempfile.mkdtemp(prefix="stowage-postgresql-", dir="/tmp"))  # the user postgres cannot enter pytest's
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        cluster = Cluster(folder, port, settings)
        cluster.create()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Database:
    """A database with the newest tables, emptied for each test: creating one takes longer than most tests."""

    def __init__(self, url: str) -> None:
        self.url = url
        upgrade(url, PLATFORM)
        self._engine = open_engine(url)
        with transaction(self._engine, writes=False) as connection:
            rows = {table: connection.execute(select(table)).mappings().all() for table in METADATA.sorted_tables}
        self._first_rows = {table: list(map(dict, found)) for table, found in rows.items() if found}

    def empty(self) -> str:
        """Leave only the rows that the migrations have made; returns the URL."""
        with transaction(self._engine, writes=True, migrates=True) as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(delete(table))
            connection.exec_driver_sql("DELETE FROM running_transfers; DELETE FROM transfer_end")
            for table, rows in self._first_rows.items():
                connection.execute(insert(table), rows)
        return self.url

    def close(self) -> None:
        self._engine.dispose()
