"""An SQLite database belongs to one content folder: whoever uses both may share it, and any other process is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stowage.app.holding import hold_place
from stowage.app.settings import Config
from stowage.app.wiring import open_engine
from tests.builders import put_image
from tests.ports import free_port

BIN = Path(sys.executable).parent
USE = """
import sys
from stowage.app.holding import hold_place
from stowage.app.settings import Config
from stowage.app.wiring import build_engine

engine = build_engine(Config.from_environ())
engine.metadata.store_id()
print("used", flush=True)
sys.stdin.read()
"""


def settings(root: Path, database: str, **others: str) -> dict[str, str]:
    return {**os.environ, "STOWAGE_ROOT": str(root), "STOWAGE_DATABASE_URL": f"sqlite:///{database}", **others}


def command(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / words[0], *words[1:]], capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The database of a new store in the folder `a`."""
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "stowage.db"
    assert command("stowage", "db", "upgrade", env=settings(tmp_path / "a", str(path))).returncode == 0
    return path


@contextmanager
def used(root: Path, database: Path) -> Iterator[None]:
    """Another process that uses the store, until the context ends."""
    python = [sys.executable, "-c", USE]
    with subprocess.Popen(python, env=settings(root, str(database)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "used\n"
        yield


def open_files() -> dict[int, Path]:
    """The descriptors of this process."""
    return {int(link.name): link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


def symlink(database: Path) -> str:
    (database.parents[1] / "other.db").symlink_to(database)
    return f"{database.parents[1]}/other.db"


def linked_folder(database: Path) -> str:
    (database.parents[1] / "linked").symlink_to(database.parent)
    return f"{database.parents[1]}/linked/{database.name}"


def relative(database: Path) -> str:
    return os.path.relpath(database)


NAMES = pytest.mark.parametrize("named", [str, symlink, linked_folder, relative], ids=["same", "symlink", "folder", "relative"])


@NAMES
def test_a_database_is_not_used_with_two_content_folders_at_once(named: Callable[[Path], str], database: Path, tmp_path: Path) -> None:
    name = named(database)
    with used(tmp_path / "a", database):
        ended = command("stowage", "verify", env=settings(tmp_path / "b", name))
        assert (ended.returncode, ended.stdout) == (2, "")
        assert f"another service or command uses the database {name} with another content folder than {tmp_path}/b" in ended.stderr
    assert not (tmp_path / "b" / "store-id").exists()


def test_commands_on_the_same_folders_share_a_database(database: Path, tmp_path: Path) -> None:
    with used(tmp_path / "a", database):
        assert command("stowage", "verify", env=settings(tmp_path / "a", str(database))).stdout == "every image is whole\n"


@pytest.mark.parametrize("words", [("stowage", "serve"), ("gunicorn", "wsgi:app", "--workers=2")], ids=["serve", "gunicorn"])
def test_a_service_with_another_folder_is_refused(words: tuple[str, ...], database: Path, tmp_path: Path) -> None:
    bind = ("--bind", f"127.0.0.1:{free_port()}")
    with used(tmp_path / "a", database):
        ended = command(*words, *bind, env=settings(tmp_path / "b", str(database)), cwd=Path(__file__).parents[2])
    assert ended.returncode != 0
    assert "another service or command uses the database" in ended.stderr


def test_a_hard_link_is_no_name_for_a_database(database: Path, tmp_path: Path) -> None:
    os.link(database, tmp_path / "other.db")
    for name in (database, tmp_path / "other.db"):
        ended = command("stowage", "verify", env=settings(tmp_path / "a", str(name)))
        assert ended.returncode == 2
        assert f"STOWAGE_DATABASE_URL: {name} has more names than one (hard links)" in ended.stderr


def test_a_mounted_file_is_no_name_for_a_database_and_a_mounted_folder_is(database: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    script = 'mount --bind "$1" "$2" && exec "$3" verify'
    for source, target, root, status, says in (
        (database, tmp_path / "other.db", "a", 2, f"{tmp_path}/other.db is a mount point"),
        (database.parent, tmp_path / "mounted", "a", 0, ""),
        (database.parent, tmp_path / "mounted", "b", 2, "another service or command uses the database"),
    ):
        target.mkdir(exist_ok=True) if source.is_dir() else target.touch()
        name = target / "stowage.db" if source.is_dir() else target
        words = ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, (source, target, BIN / "stowage"))]
        with used(tmp_path / "a", database):
            ended = subprocess.run(words, env=settings(tmp_path / root, str(name)), capture_output=True, text=True, timeout=60)
        assert ended.returncode == status, ended.stderr
        assert says in ended.stderr


def test_an_empty_folder_does_not_take_the_place_of_the_one_that_the_database_has(database: Path, tmp_path: Path) -> None:
    given = command("stowage", "verify", env=settings(tmp_path / "a", str(database)))
    assert given.returncode == 0
    ended = command("stowage", "verify", env=settings(tmp_path / "b", str(database)))
    assert ended.returncode == 2
    assert "belong to different stores" in ended.stderr
    assert not (tmp_path / "b" / "store-id").exists()


def test_a_copy_of_the_folder_marks_nothing_while_the_store_is_used(database: Path, tmp_path: Path) -> None:
    config = Config.from_environ(settings(tmp_path / "a", str(database)))
    with open_engine(config) as engine:
        put_image(engine)
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "store-id").write_bytes((tmp_path / "a" / "store-id").read_bytes())
        ended = command("stowage", "verify", env=settings(tmp_path / "b", str(database)))
    assert ended.returncode == 2
    assert command("stowage", "verify", env=settings(tmp_path / "a", str(database))).returncode == 0


def test_what_others_could_read_of_a_database_is_for_its_user_alone(database: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "a", *(path for path in (tmp_path / "a").iterdir() if path.is_file())):
        folder.chmod(0o755 if folder.is_dir() else 0o644)
    with used(tmp_path / "a", database):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in database.parent.glob("stowage.db*")}
    assert set(modes.values()) == {0o600}
    assert {"stowage.db", "stowage.db-wal", "stowage.db-shm"} <= modes.keys()


def test_what_ends_releases_the_database_before_the_folder(database: Path, tmp_path: Path) -> None:
    """The system closes descriptors in their order. Whoever held the folder anew before the database would be refused."""
    config = Config.from_environ(settings(tmp_path / "a", str(database)))
    before = set(open_files())
    hold_place(config)
    held = {handle: name for handle, name in open_files().items() if handle not in before}
    assert [held[handle].name for handle in sorted(held)] == ["stowage.db-place", "place"]
    for handle in held:
        os.close(handle)


def test_a_command_of_root_does_not_lock_the_user_of_the_store_out(database: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("root is needed")
    environ = settings(tmp_path / "a", str(database))
    assert command("stowage", "verify", env=environ).returncode == 0
    for file in "place", "stowage.db-turn", "stowage.db-place":
        (database.parent / file).unlink(missing_ok=True)
    for path in (database.parent, *database.parent.rglob("*")):
        os.chown(path, 65534, 65534)
    assert command("stowage", "verify", env=environ).returncode == 0
    assert {path.stat().st_uid for path in database.parent.iterdir()} == {65534}
