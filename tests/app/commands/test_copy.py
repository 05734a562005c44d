"""`stowage copy`: a store moves from SQLite to PostgreSQL and back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, insert, inspect, select, text

from stowage.app.cli import main
from stowage.app.settings import Config
from stowage.app.wiring import open_engine
from stowage.services.filters import Filters
from stowage.services.images.files import list_files
from stowage.services.images.list import list_images
from stowage.services.metadata import copying
from stowage.services.metadata.database import open_engine as open_database
from stowage.services.metadata.database import transaction
from stowage.services.metadata.tables import METADATA
from tests.builders import Layout, make_layer, put_image, simple_layout
from tests.postgresql import Cluster
from tests.rows import digest
from tests.services.metadata.test_migrations import upgrade_to


@pytest.fixture
def other(postgresql: Cluster) -> Iterator[str]:
    """A database without tables."""
    yield postgresql.create_database("other")
    postgresql.drop_database("other")


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The SQLite database of a store with images."""
    monkeypatch.setattr(copying, "_ROWS", 2)
    monkeypatch.setenv("STOWAGE_ROOT", str(tmp_path / "root"))
    assert main(["db", "upgrade"]) == 0
    with open_engine(Config.from_environ()) as engine:
        put_image(engine, "one", simple_layout())
        put_image(engine, "two", simple_layout())
    return Config.from_environ().database_url


def test_lists_of_files_are_not_copied(first: str, other: str) -> None:
    layout = Layout()
    with open_engine(Config.from_environ()) as engine:
        put_image(engine, "listed", layout, layout.image([make_layer("a layer that no other test of this process has listed")]))
        assert list_files(engine, "listed").sum.files == 1
    assert len(rows(first)["layer_files"]) == 1
    assert main(["copy", "--to-database", other]) == 0
    copied = rows(other)
    assert (copied["layer_files"], copied["blob"]) == ([], rows(first)["blob"])


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    engine = open_database(url)
    with transaction(engine, writes=False) as connection:
        found = {table.name: connection.execute(select(table).order_by(*table.primary_key)).all() for table in METADATA.sorted_tables}
    engine.dispose()
    return {name: list(map(tuple, each)) for name, each in found.items()}


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = open_database(url)
    with transaction(engine, writes=True, migrates=True) as connection:  # other writes need our tables
        result = connection.execute(text(statement))
        found = list(map(tuple, result)) if result.returns_rows else []
    engine.dispose()
    return found


def tables(url: str) -> list[str]:
    engine = open_database(url)
    names = inspect(engine).get_table_names()
    engine.dispose()
    return names


def images() -> list[tuple[object, ...]]:
    """What a list shows of each image."""
    with open_engine(Config.from_environ()) as engine:
        return [(each.descriptor, each.repo_tags, each.created, each.size) for each in list_images(engine, filters=Filters())]


def test_there_and_back_is_the_same_store(
    first: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows(first)
    listed = images()
    assert main(["copy", "--to-database", other]) == 0
    count = sum(map(len, before.values()))
    assert capsys.readouterr().out.startswith(f"copied and compared {count} rows; to use the copy, set STOWAGE_DATABASE_URL=postgresql")
    assert rows(other) == before

    monkeypatch.setenv("STOWAGE_DATABASE_URL", other)
    assert images() == listed != []
    assert main(["verify"]) == 0
    back = f"sqlite:///{tmp_path}/back.db"
    assert main(["copy", "--to-database", back]) == 0
    assert rows(back) == before


def test_rows_that_the_database_numbers_are_numbered_after_the_copied_ones(
    first: str, other: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numbered = Table(
        "numbered", MetaData(), Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True), Column("n", Integer)
    )
    source, target = open_database(first), open_database(other)
    assert main(["copy", "--to-database", other]) == 0
    with transaction(source, writes=True) as reader, transaction(target, writes=True) as writer:
        for connection in (reader, writer):
            numbered.create(connection)
        reader.execute(insert(numbered), [{"id": 7, "n": 1}, {"id": 9, "n": 2}])
        assert copying._copy(numbered, reader, writer) == 2
        writer.execute(insert(numbered), {"n": 3})
        assert writer.execute(select(numbered).order_by(numbered.c.id)).all() == [(7, 1), (9, 2), (10, 3)]
    source.dispose()
    target.dispose()


def test_a_store_in_the_other_database_is_left_alone(first: str, other: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", "--to-database", other]) == 0
    before = rows(other)
    with open_engine(Config.from_environ()) as engine:
        put_image(engine, "three", simple_layout())
    assert main(["copy", "--to-database", other]) == 1
    assert capsys.readouterr().err == "stowage: there is a store in the other database\n"
    assert rows(other) == before


def test_a_store_of_an_older_version_in_the_other_database_is_left_alone(
    first: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrade_to(other, "0015")
    execute(other, f"INSERT INTO blob (digest, size, created_at) VALUES ('{digest('a')}', 1, 1)")
    assert main(["copy", "--to-database", other]) == 1
    assert capsys.readouterr().err == "stowage: there is a store in the other database\n"
    assert execute(other, "SELECT version_num FROM alembic_version") == [("0015",)]


def test_tables_of_another_program_are_left_alone(first: str, other: str, capsys: pytest.CaptureFixture[str]) -> None:
    execute(other, "CREATE TABLE wages (amount INTEGER)")
    assert main(["copy", "--to-database", other]) == 1
    assert capsys.readouterr().err == "stowage: the other database has tables of another program: wages\n"
    assert tables(other) == ["wages"]


def test_a_file_that_a_service_uses_is_left_alone(first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "used"
    command = [sys.executable, "-m", "stowage", "serve", "--root", str(root)]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert service.stderr is not None
    try:
        assert any("is ready on" in line for line in service.stderr)
        before = rows(f"sqlite:///{root}/stowage.db")
        assert main(["copy", "--to-database", f"sqlite:///{root}/stowage.db"]) == 2
    finally:
        service.terminate()
        service.communicate(timeout=30)
    assert capsys.readouterr().err == f"stowage: --to-database: another service is running on {root}.\n"
    assert rows(f"sqlite:///{root}/stowage.db") == before


def test_a_copy_that_is_refused_makes_no_file(first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(first, "UPDATE alembic_version SET version_num = '9999'")
    assert main(["copy", "--to-database", f"sqlite:///{tmp_path}/new.db"]) != 0
    assert not (tmp_path / "new.db").exists()


def test_it_is_refused_while_a_service_runs(first: str, other: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root, before = tmp_path / "root", rows(first)
    service = subprocess.Popen([sys.executable, "-m", "stowage", "serve"], stderr=subprocess.PIPE, text=True)
    assert service.stderr is not None
    try:
        assert any("is ready on" in line for line in service.stderr)
        assert main(["copy", "--to-database", other]) == 2
    finally:
        service.terminate()
        service.communicate(timeout=30)
    assert capsys.readouterr().err == f"stowage: STOWAGE_ROOT: another service is running on {root}.\n"
    assert rows(first) == before
    assert tables(other) == []


@pytest.mark.parametrize("url", ["", "mysql://user:secret@host/db", "the same"])
def test_only_another_database_is_copied_to(first: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", "--to-database", first if url == "the same" else url]) == 2
    told = capsys.readouterr().err
    assert told.startswith("stowage: --to-database must ")
    assert "secret" not in told
