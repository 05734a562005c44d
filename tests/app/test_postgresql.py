"""A store whose database is PostgreSQL, as the commands see it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stowage.app.settings import Config
from stowage.app.wiring import open_engine
from tests.builders import put_image
from tests.ports import free_port
from tests.postgresql import Cluster, Database

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def url(migrated_postgresql: Database) -> str:
    return migrated_postgresql.empty()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def run(root: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stowage", *arguments],
        cwd=REPOSITORY,
        env=environment(root, url),
        capture_output=True,
        text=True,
        timeout=60,
    )


def environment(root: Path, url: str) -> dict[str, str]:
    return {**os.environ, "STOWAGE_ROOT": str(root), "STOWAGE_DATABASE_URL": url, "STOWAGE_DATABASE_TIMEOUT": "3"}


def config(root: Path, url: str) -> Config:
    return Config.from_environ({"STOWAGE_ROOT": str(root), "STOWAGE_DATABASE_URL": url})


def test_a_new_store_is_made_and_used(root: Path, postgresql: Cluster) -> None:
    url = postgresql.create_database("new")
    assert run(root, url, "gc").stderr == f"stowage: STOWAGE_DATABASE_URL: there is no store in {masked(url)}.\n"
    assert run(root, url, "db", "upgrade").returncode == 0
    assert run(root, url, "gc").stdout == "removed 0 blobs, freed 0 bytes\n"
    postgresql.drop_database("new")


def test_a_folder_of_another_store_is_refused_without_secrets(root: Path, url: str) -> None:
    root.mkdir()
    (root / "store-id").write_text("0" * 32)
    done = run(root, url.replace("postgres@", "postgres:secret@"), "gc")
    assert done.returncode == 2
    assert re.search(f"the database {re.escape(masked(url))} and the content folder {root} belong to different stores", done.stderr)
    assert "secret" not in done.stderr


def test_commands_use_a_store_together_but_not_one_of_its_copies(root: Path, url: str, tmp_path: Path) -> None:
    with open_engine(config(root, url)) as engine:
        put_image(engine)
        shutil.copytree(root, tmp_path / "copy")
        assert run(root, url, "verify").stdout == "every image is whole\n"
        refused = run(tmp_path / "copy", url, "gc")
        assert (
            refused.stderr == "stowage: another Stowage uses this database, on another machine or with another content folder or bucket\n"
        )
        assert refused.returncode == 1
    assert run(tmp_path / "copy", url, "verify").stdout == "every image is whole\n"


@pytest.mark.parametrize("command", [("serve",), ("db", "upgrade"), ("verify",)], ids=" ".join)
def test_a_database_that_is_not_there_is_said_to_be_so(root: Path, command: tuple[str, ...]) -> None:
    root.mkdir()
    (root / "store-id").write_text("0" * 32)
    done = run(root, f"postgresql://user:secret@127.0.0.1:{free_port()}/images", *command)
    assert done.returncode == 1
    assert re.fullmatch("stowage: the database is unreachable: .*[Cc]onnection refused.*\n", done.stderr)
    assert "secret" not in done.stderr


def test_the_driver_is_asked_for_when_it_is_not_installed(root: Path) -> None:
    code = "import sys; sys.modules['psycopg'] = None; from stowage.app.cli import main; sys.exit(main(['db', 'upgrade']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment(root, "postgresql:///x"), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("stowage: PostgreSQL needs psycopg: pip install 'stowage[postgresql]'")


def test_settings_show_the_database_without_secrets(root: Path) -> None:
    done = run(root, "postgresql://user:sec,ret@host/images?password=sec,ret", "settings")
    assert "postgresql://xxxxx@host/images?xxxxx" in done.stdout
    assert "ret" not in done.stdout.replace("certs", "")


def masked(url: str) -> str:
    return re.sub(r"\?.*", "?xxxxx", url.replace("postgres@", "xxxxx@"))
