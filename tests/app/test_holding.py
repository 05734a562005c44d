"""A folder belongs to one service, to all of its processes, until the last of them has ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from gunicorn.workers.sync import SyncWorker

from stowage.app.application import create_app
from stowage.app.holding import hold_folders, hold_place, identity
from stowage.app.settings import Config, ConfigError
from stowage.app.wiring import build_engine

REPOSITORY = Path(__file__).resolve().parents[2]
HEAD = (
    "import os, signal, subprocess, sys\n"
    "from stowage.app.settings import Config, ConfigError\n"
    "from stowage.app.holding import hold_folders\n"
)
HOLD = f"{HEAD}hold_folders(Config.from_environ()); print('held', flush=True); sys.stdin.read()"
FORK = f"""{HEAD}
hold_folders(Config.from_environ())
if os.fork():
    print("held", flush=True)
    signal.pause()
sys.stdin.read()
"""
RACE = f"""{HEAD}
reader, writer = os.pipe()
for _ in range(8):
    if not os.fork():
        try:
            hold_folders(Config.from_environ())
            os.write(writer, b"+")
        except ConfigError:
            os.write(writer, b"-")
        sys.stdin.read()
        os._exit(0)
print(b"".join(os.read(reader, 1) for _ in range(8)).count(b"+"), flush=True)
sys.stdin.read()
"""


PLACE = f"{HEAD}from stowage.app.holding import hold_place\nprint(hold_place(Config.from_environ()), flush=True); sys.stdin.read()"


def config_of(root: Path, content: Path | None = None) -> Config:
    return Config.from_environ({"STOWAGE_ROOT": str(root), "STOWAGE_CONTENT_URL": str(content or "")})


@contextlib.contextmanager
def running(script: str, root: Path, content: Path | None = None, says: str = "held") -> Iterator[subprocess.Popen[str]]:
    """Another process, once it says this; it ends with its standard input."""
    environment = {**os.environ, "STOWAGE_ROOT": str(root), "STOWAGE_CONTENT_URL": str(content or "")}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{says}\n"
        yield process


def test_another_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    root = tmp_path / "new" / "root"
    with running(HOLD, root), pytest.raises(ConfigError, match=rf"^STOWAGE_ROOT: another service is running on {root}\.$"):
        hold_folders(config_of(root))
    assert root.stat().st_mode & 0o777 == 0o700
    hold_folders(config_of(root))


def test_of_the_children_of_one_process_that_ask_at_once_one_gets_the_folder(tmp_path: Path) -> None:
    with running(RACE, tmp_path, says="1"):
        pass


def test_a_process_may_hold_its_folders_again(tmp_path: Path) -> None:
    hold_folders(config_of(tmp_path))
    hold_folders(config_of(tmp_path))
    assert (tmp_path / "lock").read_text() == identity(os.getpid())
    with (tmp_path / "lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_sibling_that_asks_before_the_owner_is_written_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, asked = os.pwrite, list[Future[None]]()

    def write_late(*arguments: Any) -> int:
        monkeypatch.setattr(os, "pwrite", write)
        asked.append(sibling.submit(hold_folders, config_of(tmp_path)))
        wait(asked, timeout=0.2)  # long enough for a sibling that does not wait to be refused
        return write(*arguments)

    monkeypatch.setattr(os, "pwrite", write_late)
    with ThreadPoolExecutor(1) as sibling:
        hold_folders(config_of(tmp_path))
    assert asked[0].exception() is None


@pytest.mark.parametrize("theirs", [("taken", None), ("theirs", "taken")], ids=["root", "content"])
def test_no_folder_is_shared_with_a_service_of_another_root(theirs: tuple[str, str | None], tmp_path: Path) -> None:
    root, content = tmp_path / theirs[0], tmp_path / theirs[1] if theirs[1] else None
    refusal = pytest.raises(ConfigError, match=rf"^STOWAGE_CONTENT_URL: another service is running on {tmp_path}/taken\.$")
    with running(HOLD, root, content), refusal:
        hold_folders(config_of(tmp_path / "ours", tmp_path / "taken"))


def test_a_child_keeps_the_folder_when_its_parent_is_killed(tmp_path: Path) -> None:
    with running(FORK, tmp_path) as parent:
        parent.kill()
        parent.wait()
        with pytest.raises(ConfigError, match="another service is running"):
            hold_folders(config_of(tmp_path))
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # had when the child has ended
    hold_folders(config_of(tmp_path))


def test_a_lock_that_a_dead_service_left_is_taken(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("a service of long ago, of which nothing remains " * 10)
    hold_folders(config_of(tmp_path))
    assert (tmp_path / "lock").read_text() == identity(os.getpid())


@pytest.mark.parametrize(
    "owner", ["", "{pid}\n", "another boot, {own}", "{own} and more"], ids=["nobody", "our pid", "another boot", "a longer one"]
)
@pytest.mark.parametrize("kind", [fcntl.LOCK_EX, fcntl.LOCK_SH], ids=["exclusive", "shared"])
def test_a_held_folder_of_nobody_known_is_left_alone(owner: str, kind: int, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(owner.format(pid=os.getpid(), own=identity(os.getpid())))
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, kind)
        with pytest.raises(ConfigError, match="another service is running"):
            hold_folders(config_of(tmp_path))


def test_a_program_may_have_any_name() -> None:
    name, before = Path("/proc/self/comm"), identity(os.getpid())
    own = name.read_text()
    try:
        name.write_bytes(b") R 1 (\xff 2")
        assert identity(os.getpid()) == before
    finally:
        name.write_text(own)
    assert before != identity(os.getppid())


def test_without_proc_the_pid_says_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", absent)
    assert identity(7) == "7\n"


@pytest.mark.parametrize(
    ("parent", "owner"), [(os.getppid(), os.getppid()), (1 << 22, os.getpid())], ids=["its master lives", "its master is gone"]
)
def test_what_a_worker_of_gunicorn_holds_belongs_to_its_master(parent: int, owner: int, tmp_path: Path) -> None:
    worker = SyncWorker.__new__(SyncWorker)
    worker.ppid = parent
    before = signal.signal(signal.SIGTERM, worker.handle_exit)
    try:
        hold_folders(config_of(tmp_path))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (tmp_path / "lock").read_text() == identity(owner)


def test_an_application_holds_its_folders_from_the_start(tmp_path: Path) -> None:
    with running(HOLD, tmp_path), pytest.raises(ConfigError, match="another service is running"):
        create_app(config_of(tmp_path))


def test_an_application_with_an_engine_of_its_own_holds_nothing(tmp_path: Path) -> None:
    create_app(config_of(tmp_path / "root"), build=build_engine)
    assert not (tmp_path / "root").exists()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="STOWAGE_ROOT: cannot use the folder .*: (File exists|Not a directory)"):
        hold_folders(config_of(tmp_path / "file"))


def test_who_may_only_read_a_folder_holds_nobody_up(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with running(HOLD, tmp_path):
            pass
    finally:
        os.close(folder)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_lock_that_others_may_open_is_for_its_user_alone_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "lock").chmod(0o666)
    hold_folders(config_of(tmp_path))
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_lock_is_never_opened_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="STOWAGE_ROOT: cannot use the folder .*: Too many levels of symbolic links"):
        hold_folders(config_of(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


class TestPlaces:
    """What distinguishes a content folder from its copies, for the database."""

    def test_one_that_another_process_keeps_to_itself_is_refused(self, tmp_path: Path) -> None:
        with (tmp_path / "place").open("w") as place:
            fcntl.flock(place, fcntl.LOCK_EX)
            with pytest.raises(ConfigError, match="another process keeps .*/place to itself"):
                hold_place(config_of(tmp_path))

    @pytest.fixture(autouse=True)
    def _on_postgresql(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STOWAGE_DATABASE_URL", "postgresql:///images")

    def test_processes_that_share_a_folder_have_one_place_and_a_copy_has_another(self, tmp_path: Path) -> None:
        folder, copy = tmp_path / "folder", tmp_path / "copy"
        with placed(folder) as place, placed(folder) as same:
            assert place == same
            shutil.copytree(folder, copy)
            with placed(copy) as other:
                assert other != place
        with placed(folder) as later:
            assert later != place

    def test_a_process_may_ask_again(self, tmp_path: Path) -> None:
        config = Config.from_environ({"STOWAGE_ROOT": str(tmp_path), "STOWAGE_DATABASE_URL": "postgresql:///images"})
        assert hold_place(config) == hold_place(config)

    def test_sqlite_needs_none_of_its_connections(self, tmp_path: Path) -> None:
        assert hold_place(config_of(tmp_path)) == ""


@contextlib.contextmanager
def placed(folder: Path) -> Iterator[str]:
    """The place that another process holds."""
    environment = {**os.environ, "STOWAGE_ROOT": str(folder)}
    command = [sys.executable, "-c", PLACE]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
