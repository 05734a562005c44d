"""The command line."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stowage import __version__
from stowage.app.cli import main
from stowage.services.engine import Engine
from tests.builders import put_image


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STOWAGE_ROOT", str(tmp_path / "root"))
    return tmp_path / "root"


def test_upgrade_makes_the_database(root: Path) -> None:
    assert main(["db", "upgrade"]) == 0
    assert (root / "stowage.db").is_file()


def test_an_empty_store_is_whole_and_has_nothing_to_collect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", "upgrade"]) == 0
    assert main(["verify"]) == main(["verify", "--deep"]) == 0
    assert main(["gc"]) == 0
    assert capsys.readouterr().out == "every image is whole\nevery image is whole\nremoved 0 blobs, freed 0 bytes\n"


def test_damage_is_told_and_ends_with_status_1(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", "upgrade"]) == 0
    with closing(sqlite3.connect(root / "stowage.db")) as database, database:
        database.execute("INSERT INTO layer VALUES ('sha256:1', 'sha256:2', 3)")
    assert main(["verify"]) == 1
    assert capsys.readouterr().out == "damage: database: rows in table layer that refer to no row of table blob: 1\n1 damaged\n"


def test_a_save_that_fails_midway_says_why_and_holds_nothing(engine: Engine, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_image(engine, "simple")
    assert main(["save", "-o", "/dev/full", "simple"]) == 1
    assert capsys.readouterr().err == "stowage: cannot write /dev/full: No space left on device.\n"
    with closing(sqlite3.connect(root / "stowage.db")) as database:
        assert database.execute("SELECT count(*) FROM lease").fetchone() == (0,)


@pytest.mark.parametrize("command", ["verify", "gc"])
def test_a_folder_without_a_store_is_left_as_it_is(command: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root.mkdir()
    assert main([command]) == 2
    assert capsys.readouterr().err == f"stowage: STOWAGE_ROOT: there is no store in {root}: {root}/stowage.db does not exist.\n"
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("command", ["verify", "gc"])
def test_a_root_that_is_not_there_is_not_made(command: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 2
    assert "there is no store in" in capsys.readouterr().err
    assert not root.exists()


def test_a_wrong_setting_ends_with_its_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STOWAGE_WORKERS", "none")
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == "stowage: STOWAGE_WORKERS must be a whole number from 1 to 1024.\n"


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("verify",),
        ("gc",),
        ("db",),
        ("db", "upgrade"),
        ("run",),
        ("save",),
        ("push-all",),
        ("blobs",),
        ("deploy-files",),
        ("settings",),
        ("completion",),
    ],
)
def test_help_says_where_settings_are_and_imports_nothing_that_takes_time(command: tuple[str, ...]) -> None:
    script = "import sys; from stowage.app.cli import main\ntry: main(sys.argv[1:])\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script, *command, "--help"], capture_output=True, text=True)
    assert "docs/settings.md" in done.stdout
    heavy = {"asyncio", "flask", "gunicorn", "marshmallow", "shtab", "sqlalchemy", "stowage.app.settings", "urllib3", "werkzeug"}
    assert heavy & set(done.stderr.split()) == set()


def test_output_that_nobody_reads_ends_without_a_traceback(root: Path) -> None:
    assert main(["db", "upgrade"]) == 0
    with subprocess.Popen([sys.executable, "-m", "stowage", "verify"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as verify:
        assert verify.stdout is not None and verify.stderr is not None
        verify.stdout.close()
        assert verify.stderr.read() == b""
    assert verify.returncode == 1


FAILING = """
from stowage.app.cli import main
from stowage.services.gc import verify

def fail(*_, **__):
    raise RuntimeError("\\x1b[2J\\u202e\\n2026-11-25 10:00:00,000 INFO forged" + "W" * 10_000)

verify.verify_store = fail
raise SystemExit(main(["verify"]))
"""


def test_an_unexpected_error_is_printed_without_control_characters(root: Path) -> None:
    assert main(["db", "upgrade"]) == 0
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True)
    first, *others = done.stderr.splitlines()
    assert (done.returncode, first) == (1, "unexpected error")
    assert all(line.startswith("    ") and line.isprintable() and len(line) < 4096 for line in others)
    assert any("2026-11-25" in line for line in others)


@pytest.mark.parametrize("arguments", [[], ["nope"], ["db"], ["serve", "extra"], ["run"], ["run", "--"], ["run", "--bind=x", "true"]])
def test_wrong_usage_ends_with_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["push-all", "--to", "team/app"], "'team/app' does not begin with a registry's address; write it as in localhost:5000/team"),
        (["save", "-o", "images.tar", "Team"], "invalid reference format: repository name (library/Team) must be lowercase"),
        (["save", "-o", "images.tar", "--platform", "a/b/c/d", "team"], '"a/b/c/d": cannot parse platform specifier'),
    ],
    ids=["destination", "name", "platform"],
)
def test_an_argument_that_cannot_be_read_ends_with_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["db", "upgrade"]) == 0
    monkeypatch.chdir(root)
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not (root / "images.tar").exists()


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"stowage {__version__}\n")


def test_the_files_for_an_installation_are_found(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy-files"]) == 0
    folder = Path(capsys.readouterr().out.removesuffix("\n"))
    assert {"alerts.yml", "grafana.json", "nginx.conf", "stowage.service"} <= {path.name for path in folder.iterdir()}
    assert not root.exists()


def test_the_database_is_for_its_user_alone(root: Path) -> None:
    assert main(["db", "upgrade"]) == 0
    files = {path.name: oct(path.stat().st_mode & 0o777) for path in root.glob("stowage.db*")}
    assert files == dict.fromkeys(["stowage.db", "stowage.db-place", "stowage.db-turn"], "0o600")


def test_an_empty_address_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--bind", ""]) == 2
    assert capsys.readouterr().err == "stowage: --bind must not be empty.\n"
