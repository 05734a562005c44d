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
from sqlalchemy import Boolean, Column, Executable, MetaData, delete, insert, select, text

from stowage.services.errors import Internal, Unsupported
from stowage.services.metadata import tables
from stowage.services.metadata.database import open_engine, transaction
from stowage.services.metadata.store import upgrade
from stowage.services.metadata.tables import METADATA
from stowage.services.oci.platform import Platform
from tests.engines import PLATFORM, metadata_store
from tests.listings import all_records
from tests.postgresql import Cluster
from tests.rows import add_blobs, add_image, add_index, descriptor, digest

REPOSITORY = Path(__file__).resolve().parents[3]
ONLY_ON_POSTGRESQL = {"last_write", "running_transfers", "transfer_end"}
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
    assert [name for name, sql in made.items() if "WITHOUT ROWID" in sql] == ["source", "edge", "target_label", "lease_blob", "reach"]
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


def test_a_store_of_the_version_before_is_upgraded_with_all_its_rows(url: str, tmp_path: Path) -> None:
    made = f"sqlite:///{tmp_path}/made.db"
    upgrade(made, PLATFORM)
    fill(made)
    upgrade_to(url, "0015")
    copy_as_before(made, url)
    upgrade(url, PLATFORM)
    for table in (tables.target, tables.target_label, tables.reach, tables.blob, tables.edge, tables.store):
        statement = select(table).order_by(*table.primary_key)
        assert rows_of(url, statement) == rows_of(made, statement)
    store = metadata_store(url)
    assert store.problems() == []
    with store.read() as tx:
        assert tx.graph.unused() == {digest("garbage")}
    store.close()


def fill(url: str) -> None:
    """Images that share a layer, an index with a missing manifest, what refers to one, and garbage."""
    store = metadata_store(url)
    with store.write() as tx:
        for label in "abc":
            add_image(tx, label, ["base", f"layer of {label}"], name=f"docker.io/library/{label}:1")
        add_index(tx, "index", ["a", "b", "absent"], name="docker.io/library/index:1")
        tx.graph.add_referrers({digest("a"): [descriptor("c")]})
        add_blobs(tx, ["garbage"])
    assert store.problems() == []
    store.close()


def copy_as_before(made: str, url: str) -> None:
    """Copy the rows into tables of the revision before; what only these have is wrong, so nothing may depend on it."""
    engine, before = open_engine(url), MetaData()
    with transaction(engine, writes=True) as connection:
        before.reflect(connection)
        connection.execute(delete(before.tables["store"]))
        for table in METADATA.sorted_tables:
            if table.name in before.tables:
                old = before.tables[table.name]
                wrong = {column.name: _value(column) for column in old.c if column.name not in table.c}
                rows = [dict(zip(table.c.keys(), row, strict=True)) | wrong for row in rows_of(made, select(table))]
                if rows:
                    connection.execute(insert(old), rows)
    engine.dispose()


def rows_of(url: str, statement: Executable) -> list[Any]:
    engine = open_engine(url)
    with transaction(engine, writes=False) as connection:
        rows = list(map(tuple, connection.execute(statement)))
    engine.dispose()
    return rows


def test_the_version_before_cannot_write_into_the_newest_tables(url: str) -> None:
    """It would not keep `reach`, and a sweep would take its images for garbage."""
    upgrade(url, PLATFORM)
    engine = open_engine(url)
    with pytest.raises(Internal), transaction(engine, writes=True) as connection:
        connection.execute(text("UPDATE blob SET users = users + 1"))
    engine.dispose()


def test_a_store_that_is_too_old_is_refused_and_left_alone(url: str) -> None:
    upgrade_to(url, "0015")
    _set_revision(url, "0014")
    with pytest.raises(Unsupported, match=r"is too old \(revision 0014\): start the version before this one on it first$"):
        upgrade(url, PLATFORM)
    assert _revision(url) == "0014"


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
    return True if isinstance(column.type, Boolean) else 7


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
