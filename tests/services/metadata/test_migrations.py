"""The tables' history: it makes what tables.py describes, and refuses what it does not know."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Boolean, Column, LargeBinary, MetaData, String, insert, text

from stowage.services.errors import Unsupported
from stowage.services.metadata.database import open_engine, transaction
from stowage.services.metadata.store import upgrade
from stowage.services.metadata.tables import METADATA
from stowage.services.oci.platform import Platform
from tests.engines import PLATFORM, metadata_store
from tests.listings import all_records
from tests.postgresql import Cluster
from tests.rows import add_image, descriptor, digest

REPOSITORY = Path(__file__).resolve().parents[3]
ONLY_ON_POSTGRESQL = {"arrival", "last_write", "running_transfers", "transfer_end"}
REVISIONS = sorted(path.name[:4] for path in (REPOSITORY / "services/metadata/migrations/versions").glob("[0-9]*.py"))
NEWEST = REVISIONS[-1]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    folder = tmp_path / "a folder with 100%"
    folder.mkdir()
    return f"sqlite:///{folder}/stowage.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, sqlite_url: str) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield sqlite_url
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    yield cluster.create_database("migrations")
    cluster.drop_database("migrations")


def test_the_revisions_make_the_tables(url: str) -> None:
    upgrade(url, PLATFORM)
    engine = open_engine(url)
    with transaction(engine, writes=False) as connection:
        options = {"include_name": lambda name, _kind, _parents: name not in ONLY_ON_POSTGRESQL}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
    engine.dispose()


def test_tables_on_sqlite_are_what_they_are_declared_to_be(sqlite_url: str) -> None:
    upgrade(sqlite_url, PLATFORM)
    made = dict(_query(sqlite_url, "SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    assert [name for name, sql in made.items() if "WITHOUT ROWID" in sql] == ["edge", "lease_blob", "source", "target_label"]
    assert made["image"].count("REFERENCES manifest") == 1
    assert [name for name, sql in made.items() if "AUTOINCREMENT" in sql] == ["target"]
    assert made.keys().isdisjoint(ONLY_ON_POSTGRESQL)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_text_on_postgresql_is_compared_by_its_bytes(url: str) -> None:
    upgrade(url, PLATFORM)
    columns = _query(url, "SELECT table_name, column_name, collation_name FROM information_schema.columns WHERE data_type = 'text'")
    ours = [(table, column, collation) for table, column, collation in columns if table in {*METADATA.tables, *ONLY_ON_POSTGRESQL}]
    assert len(ours) > 20
    assert [(table, column) for table, column, collation in ours if collation != "C"] == []


def test_upgrading_again_keeps_everything(url: str) -> None:
    upgrade(url, PLATFORM)
    store = metadata_store(url)
    with store.write() as tx:
        add_image(tx, "m", ["l"], name="a:1")
    upgrade(url, PLATFORM)
    assert [record.name for record in all_records(store)] == ["a:1"]
    store.close()


def test_a_derivation_of_lists_is_announced_if_there_are_images(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "stowage.services.metadata")
    upgrade(url, PLATFORM)
    upgrade(url, Platform("linux", "s390x"), change_platform=True)
    assert caplog.messages == []
    store = metadata_store(url)
    with store.write() as tx:
        add_image(tx, "m", ["l"], name="a:1")
        add_image(tx, "n", ["l"], name="a:2")
        tx.images.put("a:3", descriptor("n"), 1)
    store.close()
    upgrade(url, PLATFORM)
    assert caplog.messages == []
    upgrade(url, PLATFORM, change_platform=True)
    assert caplog.messages == [
        "deriving the lists of 2 images; the store is not available until that is done",
        "derived the lists of 2 images",
    ]


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005"])
def test_an_older_database_is_upgraded_with_all_its_rows(url: str, revision: str) -> None:
    upgrade_to(url, revision)
    older = open_engine(url)
    with transaction(older, writes=True) as connection:
        connection.execute(text("INSERT INTO blob (digest, size, created_at) VALUES (:digest, 1, 1)"), {"digest": str(digest("a"))})
    older.dispose()
    upgrade(url, PLATFORM)
    store = metadata_store(url)
    with store.read() as tx:
        assert tx.graph.all_blobs() == tx.graph.unmarked([digest("a")]) == {digest("a"): 1}
    given = store.store_id()
    upgrade(url, PLATFORM)
    assert store.store_id() == given
    store.close()


def test_the_version_before_can_write_into_the_newest_tables(url: str) -> None:
    """Migrations only add: a row of every table with the columns of the revision before is accepted."""
    upgrade_to(url, REVISIONS[-2])
    engine, before = open_engine(url), MetaData()
    with transaction(engine, writes=False) as connection:
        before.reflect(connection)
    upgrade(url, PLATFORM)
    with transaction(engine, writes=True) as connection:
        for table in before.sorted_tables:
            if table.name != "alembic_version":
                connection.execute(insert(table), {column.name: _value(column) for column in table.c})
    engine.dispose()


def test_upgraded_by_two_processes_at_once(url: str) -> None:
    code = "import sys, tests.engines; from stowage.services.metadata.store import upgrade; upgrade(sys.argv[1], tests.engines.PLATFORM)"
    upgrading = [sys.executable, "-c", code, url]
    processes = [subprocess.Popen(upgrading, cwd=REPOSITORY, stderr=subprocess.PIPE) for _ in range(2)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in processes] == [(b"", 0), (b"", 0)]
    assert _revision(url) == NEWEST


def test_a_newer_store_is_refused_and_left_alone(url: str) -> None:
    upgrade(url, PLATFORM)
    _set_revision(url, "9999")
    with pytest.raises(Unsupported, match=r"this store was written by a newer Stowage \(revision 9999\)"):
        upgrade(url, PLATFORM)
    assert _revision(url) == "9999"


def test_the_whole_database_is_one_file_afterwards(sqlite_url: str) -> None:
    upgrade(sqlite_url, PLATFORM)
    files = {path.name for path in Path(sqlite_url.removeprefix("sqlite:///")).parent.iterdir()}
    assert files == {"stowage.db", "stowage.db-turn"}  # the lock of writers


def upgrade_to(url: str, revision: str) -> None:
    """Make the tables as they were at a revision."""
    config = Config()
    config.set_main_option("script_location", str(REPOSITORY / "services/metadata/migrations"))
    engine = open_engine(url)
    with transaction(engine, writes=True, migrates=True) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def _value(column: Column[Any]) -> object:
    for kind, value in {LargeBinary: b"7", String: "7", Boolean: True}.items():
        if isinstance(column.type, kind):
            return value
    return 7


def _set_revision(url: str, revision: str) -> None:
    engine = open_engine(url)
    with transaction(engine, writes=True) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    engine.dispose()


def _revision(url: str) -> str:
    ((revision,),) = _query(url, "SELECT version_num FROM alembic_version")
    return str(revision)


def _query(url: str, statement: str) -> list[Any]:
    engine = open_engine(url)
    with transaction(engine, writes=False) as connection:
        rows = list(map(tuple, connection.execute(text(statement))))
    engine.dispose()
    return rows
