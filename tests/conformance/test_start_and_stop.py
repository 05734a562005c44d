"""What a real service and real commands say, and how they end, at whatever moment they are asked to."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.conftest import START_SECONDS, STOWAGE, needs
from tests.ports import free_port

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
STEPS = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0)
"""Seconds after the program has begun to handle signals. Before, they end the interpreter, which no program can help."""
ONE_STEP = (0.2,)

matrix = pytest.mark.matrix
ONE_SIGNAL = [signal.SIGTERM, pytest.param(signal.SIGINT, marks=matrix), pytest.param(signal.SIGHUP, marks=matrix)]
EVERY_STEP_OF_ONE_SIGNAL = [
    (signal.SIGTERM, STEPS),
    (signal.SIGINT, ONE_STEP),
    (signal.SIGHUP, ONE_STEP),
    pytest.param(signal.SIGINT, STEPS, marks=matrix),
    pytest.param(signal.SIGHUP, STEPS, marks=matrix),
]


def wait_until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"{what}: not after {START_SECONDS} seconds"
        time.sleep(0.01)


def start(root: Path, *command: str, **options: object) -> subprocess.Popen[str]:
    """A command with its output in a pipe, in a process group of its own."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STOWAGE_")}
    arguments = [*STOWAGE, *command, "--root", str(root)]
    process = subprocess.Popen(  # type: ignore[call-overload]
        arguments, env=environ, cwd=root.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0, **options
    )
    assert isinstance(process, subprocess.Popen)
    return process


def handles_signals(process: subprocess.Popen[str]) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def children(process: subprocess.Popen[str]) -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def runs(pid: str) -> bool:
    """Whether a process is there and has not ended: nobody may have waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The status and the output, once the process and all that it started have ended."""
    output, _ = process.communicate(timeout=START_SECONDS)
    assert "Traceback" not in output
    return process.returncode, output


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return client.recv(15) == b"HTTP/1.1 200 OK"
        except OSError:
            return False


def begin_load(path: Path) -> socket.socket:
    """A connection in the middle of an upload."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    client.sendall(b"POST /images/load HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    assert client.recv(1 << 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return client


@contextmanager
def locked_database(root: Path) -> Iterator[None]:
    """A new database that another process is writing to, so that its migration waits."""
    root.mkdir()
    with closing(sqlite3.connect(root / "stowage.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.parametrize(("number", "steps"), EVERY_STEP_OF_ONE_SIGNAL)
def test_a_service_stops_with_status_0_at_any_moment(tmp_path: Path, number: signal.Signals, steps: tuple[float, ...]) -> None:
    for seconds in steps:
        service = start(tmp_path / "root", "serve")
        wait_until(lambda: handles_signals(service), "the program has begun")  # noqa: B023 - called before the next turn
        time.sleep(seconds)
        service.send_signal(number)
        status, output = ended(service)
        assert (status, output.count(f"stopped by {NAMES[number]}\n")) == (0, 1), f"after {seconds} seconds: {output}"
        assert not answers(tmp_path / "root" / "stowage.sock")
    assert ended(start(tmp_path / "root", "db", "upgrade")) == (0, "")
    assert ended(start(tmp_path / "root", "verify")) == (0, "every image is whole\n")


@pytest.mark.parametrize("number", ONE_SIGNAL)
@pytest.mark.parametrize("is_for_all", [False, True], ids=["service", "group"])
def test_a_service_stops_in_its_migration(tmp_path: Path, number: signal.Signals, is_for_all: bool) -> None:
    with locked_database(tmp_path / "root"):
        service = start(tmp_path / "root", "serve")
        wait_until(lambda: children(service), "the migration")
        (migration,) = children(service)
        (os.killpg if is_for_all else os.kill)(service.pid, number)
        assert ended(service) == (0, f"stowage: stopped by {NAMES[number]}\n")
        wait_until(lambda: not runs(migration), "the migration has ended")


def test_a_service_that_is_ready_says_so_in_one_line_of_its_log(tmp_path: Path) -> None:
    service = start(tmp_path / "root", "serve")
    assert service.stdout is not None
    line = service.stdout.readline()
    assert answers(tmp_path / "root" / "stowage.sock")
    path = tmp_path / "root" / "stowage.sock"
    said = f"INFO stowage Stowage 0.1.0 is ready on unix:{path}; folder {path.parent} (0 images); export DOCKER_HOST=unix://{path}\n"
    assert line.endswith(said)
    service.terminate()
    status, output = ended(service)
    assert status == 0
    assert output.splitlines()[-1].endswith("INFO stowage stopped by SIGTERM")


@pytest.mark.parametrize("number", ONE_SIGNAL)
def test_a_second_signal_cuts_a_stream(tmp_path: Path, number: signal.Signals) -> None:
    service = start(tmp_path / "root", "serve")
    wait_until(lambda: answers(tmp_path / "root" / "stowage.sock"), "the service answers")
    workers = children(service)
    with begin_load(tmp_path / "root" / "stowage.sock"):
        os.killpg(service.pid, number)
        wait_until(lambda: not (tmp_path / "root" / "stowage.sock").exists(), "the service listens no more")
        assert service.poll() is None
        os.killpg(service.pid, number)
        status, output = ended(service)
    assert status == 0
    assert "running requests are cut" in output
    assert "(pid" not in output
    assert not any(map(runs, workers))


def test_a_stream_that_does_not_end_is_cut_after_a_while_and_the_log_says_so(tmp_path: Path) -> None:
    service = start(tmp_path / "root", "serve")
    wait_until(lambda: answers(tmp_path / "root" / "stowage.sock"), "the service answers")
    with begin_load(tmp_path / "root" / "stowage.sock"):
        service.terminate()
        status, output = ended(service)
    assert status == 0
    assert "waiting up to 10 seconds for running requests; another Ctrl-C or SIGTERM cuts them\n" in output
    assert "WARNING stowage.app.server.worker 1 running request was cut: the service stops\n" in output
    assert "(pid" not in output


def test_a_service_tells_a_service_manager_that_it_is_ready_and_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(START_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "60000000")
        service = start(tmp_path / "root", "serve")
        told = [manager.recv(1 << 10).splitlines()[0] for _ in range(3)]
        service.terminate()
        assert ended(service)[0] == 0
    assert told == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


def test_a_service_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    service = start(tmp_path / "root", "serve", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_until(lambda: answers(tmp_path / "root" / "stowage.sock"), "the service answers")
    os.killpg(service.pid, signal.SIGHUP)
    assert answers(tmp_path / "root" / "stowage.sock")
    service.terminate()
    assert ended(service)[0] == 0


@pytest.mark.parametrize("number", ONE_SIGNAL)
@pytest.mark.parametrize(
    ("command", "cut"),
    [
        pytest.param("verify", "the rest of the store was not checked", id="verify"),
        pytest.param("gc", "the next run removes the rest", id="gc"),
        pytest.param("db upgrade", "the database is as it was before", id="db upgrade"),
    ],
)
def test_a_command_that_is_cut_says_what_that_means(tmp_path: Path, number: signal.Signals, command: str, cut: str) -> None:
    with locked_database(tmp_path / "root"):
        process = start(tmp_path / "root", *command.split())
        wait_until(
            lambda: (tmp_path / "root" / "stowage.db-shm").exists() and len(os.listdir(f"/proc/{process.pid}/task")) > 1, "the command"
        )
        time.sleep(1)
        process.send_signal(number)
        assert ended(process) == (128 + number, f"stowage: stopped by {NAMES[number]}; {cut}\n")


@pytest.mark.parametrize(("number", "steps"), EVERY_STEP_OF_ONE_SIGNAL)
def test_a_command_ends_at_any_moment(tmp_path: Path, number: signal.Signals, steps: tuple[float, ...]) -> None:
    assert ended(start(tmp_path / "root", "db", "upgrade"))[0] == 0
    for seconds in steps[:4]:
        process = start(tmp_path / "root", "verify")
        wait_until(lambda: handles_signals(process), "the program has begun")  # noqa: B023 - called before the next turn
        time.sleep(seconds)
        process.send_signal(number)
        status, output = ended(process)
        assert status in (0, 128 + number, -number), output  # the last when Python is ending already
        assert f"stopped by {NAMES[number]}" in output or output == "every image is whole\n"


@dataclass
class Terminal:
    """A command in a terminal of its own, and what the terminal has shown."""

    pid: int
    screen: int
    shown: str = ""
    status: int | None = None

    def read(self, *, until: str | None = None) -> str:
        """What is shown, until this text is, or until the command has ended."""
        deadline = time.monotonic() + START_SECONDS
        while until is None or until not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if not select.select([self.screen], [], [], 0.1)[0]:
                continue
            try:
                output = os.read(self.screen, 1 << 16)
            except OSError:  # the end of a terminal that no process has open
                break
            self.shown += output.decode().replace("\r\n", "\n")
        return self.shown

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def wait(self) -> int:
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status


@contextmanager
def terminal(*command: str, cwd: Path, **settings: str) -> Iterator[Terminal]:
    pid, screen = pty.fork()
    if pid == 0:  # the child, which must not return into pytest
        try:
            os.chdir(cwd)
            os.execve(command[0], command, os.environ | settings)
        finally:
            os._exit(127)
    opened = Terminal(pid, screen)
    try:
        yield opened
    finally:
        if opened.status is None:
            os.kill(pid, signal.SIGKILL)
            opened.wait()
        os.close(opened.screen)


def test_a_terminal_shows_how_to_use_the_service_and_ctrl_c_stops_it(tmp_path: Path) -> None:
    needs("docker")
    root = tmp_path / "it's here"
    with terminal(
        *STOWAGE, "serve", "--root", str(root), "--bind", f"unix://{root}/s.sock", "--bind", "127.0.0.1:0", cwd=tmp_path
    ) as screen:
        shown = screen.read(until="Ctrl-C stops it.\n")
        port = re.search(r"127\.0\.0\.1:(\d+)\n", shown)
        assert port is not None and int(port[1]) > 0
        (export,) = re.findall(r"^ +(export DOCKER_HOST=.*)$", shown, re.MULTILINE)
        assert shown == (
            f"Stowage 0.1.0 is ready.\n  Address   unix:{root}/s.sock\n            127.0.0.1:{port[1]}\n  Folder    {root} (0 images)\n"
            f"  To use it, run this in another terminal:\n            {export}\n"
            f"  In a browser: http://127.0.0.1:{port[1]}/ui/\n  Ctrl-C stops it.\n"
        )
        script = f"{export} DOCKER_CONFIG=nowhere\ndocker version --format '{{{{.Server.Version}}}}'"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=START_SECONDS)
        assert done.stdout == "0.1.0\n", done.stderr
        screen.type("\x03")
        rest = screen.read().removeprefix(shown)
        assert screen.wait() == 0
    lines = [line for line in rest.splitlines() if "stowage.request" not in line]
    assert lines == ["^C", "stowage: stopped by Ctrl-C"]


@pytest.mark.parametrize("options", [(), ("--bind", "unix:own.sock")])
def test_a_terminal_shows_the_command_that_makes_a_page(tmp_path: Path, options: tuple[str, ...]) -> None:
    with terminal(*STOWAGE, "serve", "--root", "its own", *options, cwd=tmp_path) as screen:
        shown = screen.read(until="Ctrl-C stops it.\n")
        (command,) = re.findall(r"^  In a browser: stop it, run this, and open (\S+)\n +(.+)$", shown, re.MULTILINE)
        screen.type("\x03")
        assert screen.wait() == 0
    port = free_port()
    again = command[1].replace("127.0.0.1:2375", f"127.0.0.1:{port}")
    with terminal("/bin/sh", "-c", f"exec {again}", cwd=tmp_path) as screen:
        shown = screen.read(until="Ctrl-C stops it.\n")
        assert f"unix:{tmp_path / ('own.sock' if options else 'its own/stowage.sock')}\n" in shown
        (page,) = re.findall(r"^  In a browser: (.+)$", shown, re.MULTILINE)
        assert page == command[0].replace("2375", str(port))
        with urllib.request.urlopen(page, timeout=START_SECONDS) as answer:
            assert b"What fills the disk" in answer.read()


def test_a_terminal_shows_no_page_that_is_off(tmp_path: Path) -> None:
    with terminal(*STOWAGE, "serve", cwd=tmp_path, STOWAGE_UI="off") as screen:
        assert "browser" not in screen.read(until="Ctrl-C stops it.\n")


def test_a_closed_terminal_stops_the_service(tmp_path: Path) -> None:
    with terminal(*STOWAGE, "serve", cwd=tmp_path) as screen:
        screen.read(until="Ctrl-C stops it.\n")
        workers = Path(f"/proc/{screen.pid}/task/{screen.pid}/children").read_text().split()
        os.close(screen.screen)
        screen.screen = os.open(os.devnull, os.O_RDONLY)
        assert screen.wait() == 0
    assert not any(map(runs, workers))
    assert not (tmp_path / "var" / "stowage.sock").exists()
