"""The tables' history: it makes what tables.py describes, and refuses what it does not know."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from stowage.services.errors import Unsupported
from stowage.services.metadata.database import open_engine, transaction
from stowage.services.metadata.store import upgrade
from stowage.services.metadata.tables import METADATA
from tests.engines import PLATFORM, metadata_store
from tests.listings import all_records
from tests.rows import add_image, digest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/a folder with 100%/stowage.db"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder with 100%"
    folder.mkdir()
    return folder


def test_the_revisions_make_the_tables(url: str) -> None:
    upgrade(url, PLATFORM)
    engine = open_engine(url)
    with transaction(engine, writes=False) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        made = dict(map(tuple, connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'")))
    engine.dispose()
    assert [name for name, sql in made.items() if "WITHOUT ROWID" in sql] == ["edge", "lease_blob", "source", "target_label"]
    assert made["image"].count("REFERENCES manifest") == 1


def test_upgrading_again_keeps_everything(url: str) -> None:
    upgrade(url, PLATFORM)
    store = metadata_store(url)
    with store.write() as tx:
        add_image(tx, "m", ["l"], name="a:1")
    upgrade(url, PLATFORM)
    assert [record.name for record in all_records(store)] == ["a:1"]
    store.close()


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005"])
def test_an_older_database_is_upgraded_with_all_its_rows(url: str, revision: str) -> None:
    _upgrade_to(url, revision)
    older = open_engine(url)
    with transaction(older, writes=True) as connection:
        connection.exec_driver_sql("INSERT INTO blob VALUES (?, 1, 1)", (str(digest("a")),))
    older.dispose()
    upgrade(url, PLATFORM)
    store = metadata_store(url)
    with store.read() as tx:
        assert tx.graph.all_blobs() == tx.graph.unmarked([digest("a")]) == {digest("a"): 1}
    given = store.store_id()
    upgrade(url, PLATFORM)
    assert store.store_id() == given
    store.close()


def test_upgraded_by_two_processes_at_once(url: str, folder: Path) -> None:
    code = "import sys, tests.engines; from stowage.services.metadata.store import upgrade; upgrade(sys.argv[1], tests.engines.PLATFORM)"
    upgrading = [sys.executable, "-c", code, url]
    processes = [subprocess.Popen(upgrading, cwd=REPOSITORY, stderr=subprocess.PIPE) for _ in range(2)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in processes] == [(b"", 0), (b"", 0)]
    assert _revision(folder) == "0007"


def test_a_newer_store_is_refused_and_left_alone(url: str, folder: Path) -> None:
    upgrade(url, PLATFORM)
    _set_revision(folder, "9999")
    with pytest.raises(Unsupported, match=r"this store was written by a newer Stowage \(revision 9999\)"):
        upgrade(url, PLATFORM)
    assert _revision(folder) == "9999"


def test_the_whole_database_is_one_file_afterwards(url: str, folder: Path) -> None:
    upgrade(url, PLATFORM)
    assert [path.name for path in folder.iterdir()] == ["stowage.db"]


def _upgrade_to(url: str, revision: str) -> None:
    """Make the tables as they were at a revision."""
    config = Config()
    config.set_main_option("script_location", str(REPOSITORY / "services/metadata/migrations"))
    engine = open_engine(url)
    with transaction(engine, writes=True) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def _set_revision(folder: Path, revision: str) -> None:
    connection = sqlite3.connect(folder / "stowage.db")
    connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()


def _revision(folder: Path) -> str:
    connection = sqlite3.connect(folder / "stowage.db")
    (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return str(revision)
