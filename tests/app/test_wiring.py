"""What may be opened together: a database and a content folder of one store."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stowage.app.cli import main
from stowage.app.settings import Config, ConfigError
from stowage.app.wiring import build_engine, open_engine
from stowage.services.gc.collector import ORPHAN_GRACE_SECONDS
from tests.builders import put_image

REPOSITORY = Path(__file__).resolve().parents[2]
STOWAGE = [sys.executable, "-m", "stowage"]

LOCKS = {"stowage.db-turn", "stowage.db-place"}


@pytest.fixture(autouse=True)
def content_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The content folder of a store with an image, all of whose blobs are old; root and database are elsewhere."""
    monkeypatch.setenv("STOWAGE_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("STOWAGE_BIND", f"unix:{tmp_path}/stowage.sock")
    monkeypatch.setenv("STOWAGE_CONTENT_URL", str(tmp_path / "content"))
    assert main(["db", "upgrade"]) == 0
    with open_engine(Config.from_environ()) as engine:
        put_image(engine)
    make_old(tmp_path / "content")
    return tmp_path / "content"


def make_old(folder: Path) -> None:
    then = time.time() - 2 * ORPHAN_GRACE_SECONDS
    for path in (folder / "blobs").rglob("*"):
        os.utime(path, (then, then))


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file: when it was written, and its bytes."""
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def stowage(command: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*STOWAGE, command], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("command", ["gc", "verify", "serve"])
def test_the_database_of_another_store_is_refused_and_the_folder_left_as_it_was(
    command: str, content_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOWAGE_DATABASE_URL", f"sqlite:///{tmp_path}/elsewhere.db")
    before = tree(content_root)
    with stowage(command) as process:
        told, sentence = process.communicate(timeout=60)
    assert (process.returncode, told, sentence.count("\n")) == (2, "", 1)
    assert f"the database {tmp_path}/elsewhere.db and the content folder {content_root} belong to different stores" in sentence
    assert {name: file for name, file in tree(content_root).items() if name != "lock"} == before


def test_a_lost_database_is_restored_after_the_refusal(content_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = tmp_path / "root" / "stowage.db"
    shutil.copy(database, tmp_path / "backup.db")
    database.unlink()
    assert main(["gc"]) == 2
    assert {path.name for path in database.parent.iterdir()} - LOCKS == {"stowage.db"}
    shutil.copy(tmp_path / "backup.db", database)
    assert main(["verify"]) == main(["gc"]) == 0
    assert capsys.readouterr().out == "every image is whole\nremoved 0 blobs, freed 0 bytes\n"


def test_who_does_what_the_sentence_says_has_the_folder_taken(
    content_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "root" / "stowage.db").unlink()
    assert main(["gc"]) == 2
    said = re.search(r"write ([0-9a-f]{32}) into (\S+)\.$", capsys.readouterr().err)
    assert said is not None
    assert said[2] == f"{content_root}/store-id"
    Path(said[2]).write_text(said[1])
    assert main(["gc"]) == 0
    assert capsys.readouterr().out.startswith("removed 3 blobs")


def test_a_moved_folder_is_still_of_its_store(content_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content_root.rename(tmp_path / "moved")
    monkeypatch.setenv("STOWAGE_CONTENT_URL", str(tmp_path / "moved"))
    assert main(["verify"]) == 0


def test_a_folder_where_the_disk_is_not_mounted_is_refused(content_root: Path, tmp_path: Path) -> None:
    content_root.rename(tmp_path / "unmounted")
    assert main(["verify"]) == 2
    shutil.rmtree(content_root)
    (tmp_path / "unmounted").rename(content_root)
    assert main(["verify"]) == 0


def test_a_folder_from_before_ids_gets_that_of_its_database(content_root: Path) -> None:
    given = (content_root / "store-id").read_text()
    (content_root / "store-id").unlink()
    assert main(["gc"]) == main(["verify"]) == 0
    assert (content_root / "store-id").read_text() == given


def test_commands_at_once_agree_on_the_id_of_a_new_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.setenv("STOWAGE_ROOT", str(tmp_path / "new"))
    monkeypatch.delenv("STOWAGE_CONTENT_URL")
    assert main(["db", "upgrade"]) == 0
    processes = [stowage("verify") for _ in range(3)]
    assert [process.communicate(timeout=60) for process in processes] == [("every image is whole\n", "")] * 3
    with open_engine(Config.from_environ()) as engine:
        assert engine.content.store_id() == engine.metadata.store_id()


def test_an_engine_that_is_refused_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOWAGE_DATABASE_URL", f"sqlite:///{tmp_path}/elsewhere.db")
    assert main(["db", "upgrade"]) == 0
    with pytest.raises(ConfigError, match="belong to different stores"):
        build_engine(Config.from_environ())
    opened = [Path(os.path.realpath(path)) for path in Path("/proc/self/fd").iterdir()]
    assert [path for path in opened if tmp_path in path.parents and not path.name.endswith("place")] == []
