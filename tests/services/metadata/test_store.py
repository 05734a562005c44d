"""Transactions, above all on SQLite: durability, forks, and what becomes of the database's own errors."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import event

from stowage.services.errors import EngineError, Internal, OutOfSpace
from stowage.services.metadata.database import open_engine, transaction
from stowage.services.metadata.records import Selection
from stowage.services.metadata.store import MetadataStore
from tests.engines import ON_EVERY_DATABASE, metadata_store
from tests.rows import add_blobs, add_image, add_index, digest


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        pytest.param("journal_mode", "wal", id="write-ahead log"),
        pytest.param("synchronous", 2, id="a commit is on disk when it returns"),
        pytest.param("foreign_keys", 1, id="foreign keys"),
        pytest.param("busy_timeout", 30_000, id="writers queue for 30 s"),
    ],
)
def test_every_connection_is_configured(tmp_path: Path, pragma: str, value: object) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/stowage.db")
    with transaction(engine, writes=False) as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    engine.dispose()


def test_the_log_has_its_room_before_the_disk_is_full(tmp_path: Path) -> None:
    url, log = f"sqlite:///{tmp_path}/stowage.db", tmp_path / "stowage.db-wal"
    fresh = open_engine(url)
    with transaction(fresh, writes=True) as connection:
        connection.exec_driver_sql("CREATE TABLE note (text TEXT)")
    fresh.dispose()
    engine = open_engine(url)
    with transaction(engine, writes=False):
        before = log.stat()
    for number in range(300):
        with transaction(engine, writes=True) as connection:
            connection.exec_driver_sql("INSERT INTO note VALUES (?)", (str(number) * 1000,))
    assert (log.stat().st_size, log.stat().st_blocks) == (before.st_size, before.st_blocks)
    assert before.st_blocks * 512 >= before.st_size >= 8 << 20
    with closing(sqlite3.connect(tmp_path / "stowage.db")) as other:
        assert other.execute("SELECT count(*) FROM note").fetchone() == (300,)
    engine.dispose()


def test_a_write_holds_the_lock_from_its_beginning(metadata: MetadataStore, tmp_path: Path) -> None:
    rival = sqlite3.connect(tmp_path / "root/stowage.db", timeout=0)
    with metadata.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
        rival.execute("BEGIN IMMEDIATE")
    with metadata.read():
        rival.execute("BEGIN IMMEDIATE")
    rival.close()


def test_a_full_disk_is_told_as_such_and_leaves_the_store_as_it_was(tmp_path: Path, metadata: MetadataStore) -> None:
    with metadata.write() as tx:
        add_blobs(tx, ["before"])
    engine = open_engine(f"sqlite:///{tmp_path}/root/stowage.db")
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 1").close())
    with pytest.raises(OutOfSpace, match="no space left on device"), transaction(engine, writes=True) as connection:
        connection.exec_driver_sql("INSERT INTO blob (digest, size, created_at) VALUES (?, 1, 1)", ("x" * 1_000_000,))
    engine.dispose()
    with metadata.read() as tx:
        assert set(tx.graph.all_blobs()) == {digest("before")}


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("sqlite:////nowhere/stowage.db", id="no folder"),
        pytest.param("nonsense", id="no URL"),
        pytest.param("oracle+nothing://x", id="no such driver"),
    ],
)
def test_a_database_that_cannot_be_used_is_an_engine_error(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Internal), metadata_store(url).read() as tx:
        tx.graph.all_blobs()
    assert list(tmp_path.iterdir()) == []


def test_the_constructor_makes_nothing(tmp_path: Path) -> None:
    store = metadata_store(f"sqlite:///{tmp_path}/stowage.db")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Internal, match="no such table"):
        store.store_id()
    store.close()


@ON_EVERY_DATABASE
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(metadata: MetadataStore) -> None:
    with metadata.write() as tx:
        add_blobs(tx, ["parent"])
        child = os.fork()
        if child == 0:
            os._exit(_read_in_child(metadata))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with metadata.write() as tx:
        assert tx.graph.present([digest("parent")])


def _read_in_child(metadata: MetadataStore) -> int:
    """0 when the child sees the committed state, not that of the transaction it was forked in."""
    with suppress(EngineError), metadata.read() as tx:
        return len(tx.graph.all_blobs())
    return 99


@ON_EVERY_DATABASE
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_of_a_closed_store_starts_with_what_its_parent_compiled(metadata: MetadataStore) -> None:
    with metadata.write() as tx:
        add_blobs(tx, ["parent"])
    assert _read_in_child(metadata) == 1
    metadata.close()
    child = os.fork()
    if child == 0:
        os._exit(0 if _read_in_child(metadata) == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with metadata.write() as tx:
        assert tx.graph.present([digest("parent")])


def test_a_closed_store_has_no_file_open(metadata: MetadataStore, tmp_path: Path) -> None:
    metadata.store_id()
    assert _open_files(tmp_path)
    metadata.close()
    assert not _open_files(tmp_path)


def _open_files(folder: Path) -> list[str]:
    links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return [path for path in links if path.startswith(str(folder))]


def test_a_change_may_affect_more_targets_than_a_statement_has_parameters(metadata: MetadataStore) -> None:
    names = [f"a:{number}" for number in range(1100)]
    with metadata.write() as tx:
        for name in names:
            add_index(tx, name, ["shared"], name=name)
    with metadata.write() as tx:
        driver = tx.graph._connection.connection.dbapi_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 1050)
        add_image(tx, "shared")
    with metadata.read() as tx:
        assert all(target.labels for target in tx.targets.read(tx.targets.find(Selection())))
    with metadata.write() as tx:
        for name in names:
            tx.images.delete([name])
    with metadata.read() as tx:
        assert tx.images.count() == 0
    assert metadata.problems() == []


def test_the_size_of_the_database_has_the_log(metadata: MetadataStore, tmp_path: Path) -> None:
    for number in range(100):
        with metadata.write() as tx:
            add_image(tx, f"image {number}")
    assert metadata.size() > (tmp_path / "root" / "stowage.db-wal").stat().st_size > 400_000
