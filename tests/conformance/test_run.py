"""`stowage run` with real commands, signals and terminals. Every test ends with no process and no socket left."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.builders import make_tar
from tests.conformance.conftest import REPOSITORY, STOWAGE, needs
from tests.waiting import poll

SECONDS = 60
matrix = pytest.mark.matrix


@dataclass(frozen=True)
class Job:
    """A CI job: the root of its images, and a folder for temporary files."""

    root: Path
    temporary: Path

    def start(self, *command: str, options: tuple[str, ...] = (), **more: Any) -> subprocess.Popen[str]:
        environment = {**os.environ, "TMPDIR": str(self.temporary), **more.pop("env", {})}
        run = [*STOWAGE, "run", "--root", str(self.root), *options, "--", *command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
        return subprocess.Popen(run, env=environment, **{**pipes, **more})

    def run(self, *command: str, input: str | None = None, **more: Any) -> tuple[int, str, str]:
        """Run a command, and return its status, output and errors."""
        process = self.start(*command, stdin=subprocess.PIPE, **more)
        output, errors = process.communicate(input, timeout=SECONDS)
        return process.returncode, output, errors

    def processes(self) -> dict[int, str]:
        """The command lines of whatever has this root among its arguments or in its environment."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(self.root) in arguments + environment:
                found[int(folder.name)] = arguments.replace(b"\0", b" ").decode()
        return found

    def left(self) -> tuple[dict[int, str], list[str]]:
        """The processes and temporary files that are there."""
        return self.processes(), sorted(os.listdir(self.temporary))


@dataclass
class Terminal:
    """A pseudo-terminal and what has been read from it; its first process leads the session."""

    process: subprocess.Popen[bytes]
    master: int
    text: str = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str) -> str:
        """Read until this text has appeared, and return what came before it."""
        while text not in self.text:
            assert select.select([self.master], [], [], SECONDS)[0], f"{text!r} did not appear: {self.text!r}"
            self.text += os.read(self.master, 1024).decode()
        before, _, self.text = self.text.partition(text)
        return before


@pytest.fixture
def shell(job: Job) -> Iterator[Terminal]:
    """An interactive shell with job control, whose variable `run` runs a command in the job."""
    needs("bash")
    master, slave = pty.openpty()
    environment = {
        **os.environ,
        "TMPDIR": str(job.temporary),
        "run": shlex.join([*STOWAGE, "run", "--root", str(job.root), "--"]),
        "PS1": "$ ",
    }
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", "bash", "--norc", "-i"], env=environment, stdin=slave, stdout=slave, stderr=slave, cwd=REPOSITORY
    )
    os.close(slave)
    terminal = Terminal(process, master)
    terminal.expect("$ ")
    yield terminal
    os.close(master)
    process.wait(timeout=SECONDS)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A job of which nothing may be left at the end of the test."""
    needs("docker")
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))
    job = Job(tmp_path / "images", temporary)
    yield job
    try:
        poll(lambda: job.left() == ({}, []), SECONDS)
    finally:
        for pid in job.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(temporary)


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return (line.strip() for line in process.stdout)


def test_images_stay_in_the_root_for_the_next_run(job: Job, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(make_tar({"hello": b"world"}))
    status, output, errors = job.run("docker", "import", str(tmp_path / "root.tar"), "team/app:1")
    assert (status, errors) == (0, "")
    assert output.startswith("sha256:")
    assert job.run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}") == (0, "team/app:1\n", "")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        pytest.param(["true"], 0, id="success", marks=matrix),
        pytest.param(["sh", "-c", "exit 7"], 7, id="failure"),
        pytest.param(["sh", "-c", "kill -KILL $$"], 128 + 9, id="SIGKILL", marks=matrix),
        pytest.param(["sh", "-c", "kill -TERM $$"], 128 + 15, id="SIGTERM"),
        pytest.param(["docker", "image", "inspect", "nothing"], 1, id="docker", marks=matrix),
    ],
)
def test_the_status_is_that_of_the_command(job: Job, command: list[str], status: int) -> None:
    assert job.run(*command)[0] == status


def test_a_command_that_cannot_be_run_has_the_status_of_a_shell(job: Job, tmp_path: Path) -> None:
    assert job.run("no-such-command") == (127, "", "stowage: cannot run no-such-command: No such file or directory.\n")
    assert job.run(str(tmp_path)) == (126, "", f"stowage: cannot run {tmp_path}: Permission denied.\n")


def test_arguments_are_passed_as_they_are(job: Job) -> None:
    arguments = ["--", "--root", "-x", "", "a b", "$HOME"]
    assert job.run("printf", "<%s>", *arguments)[:2] == (0, "".join(f"<{each}>" for each in arguments))


def test_the_address_context_and_certificates_of_another_engine_do_not_matter(job: Job, tmp_path: Path) -> None:
    other = {"DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_TLS": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    config = tmp_path / "docker"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"currentContext": "other"}))
    environment = {**other, "DOCKER_CONTEXT": "another", "DOCKER_CONFIG": str(config), "STOWAGE_BIND": "nonsense"}
    assert job.run("docker", "images", "--quiet", env=environment) == (0, "", "")


def test_stowage_in_the_command_uses_the_same_store(job: Job) -> None:
    assert job.run(*STOWAGE, "gc") == (0, "removed 0 blobs, freed 0 bytes\n", "")


def test_standard_input_and_inherited_descriptors_reach_the_command(job: Job) -> None:
    assert job.run("cat", input="a line\n") == (0, "a line\n", "")
    reader, writer = os.pipe()
    os.write(writer, b"through a descriptor")
    os.close(writer)
    assert job.run("cat", f"/dev/fd/{reader}", pass_fds=[reader])[1] == "through a descriptor"
    os.close(reader)


def test_two_runs_on_different_roots_do_not_meet(job: Job, tmp_path: Path) -> None:
    other = Job(tmp_path / "other", job.temporary)
    script = "docker version >/dev/null && echo ready $DOCKER_HOST && read line && docker images --quiet"
    processes = [each.start("sh", "-c", script, stdin=subprocess.PIPE) for each in (job, other)]
    sockets = {next(lines_of(process)) for process in processes}
    assert len(sockets) == 2
    for process in processes:
        assert process.communicate("go\n", timeout=SECONDS) == ("", "")
        assert process.returncode == 0


def test_a_root_that_is_in_use_is_refused(job: Job) -> None:
    status, output, errors = job.run(*STOWAGE, "run", "--", "echo", "not run")
    assert (status, output) == (125, "")
    assert errors == (
        f"stowage: STOWAGE_ROOT: another service is running on {job.root}.\n"
        "stowage: the service ended before it was ready; the command was not run.\n"
    )


def test_a_store_that_cannot_be_opened_is_said(job: Job, tmp_path: Path) -> None:
    job.root.mkdir()
    (job.root / "stowage.db").write_bytes(b"not a database" * 100)
    log = tmp_path / "log"
    log.write_text("an older line\n")
    status, output, errors = job.run("echo", "not run", options=("--log", str(log)))
    assert (status, output) == (125, "")
    assert "not a database" in errors
    assert "Traceback" not in errors + log.read_text()
    assert "an older line" not in errors
    assert errors.endswith("stowage: the service ended before it was ready; the command was not run.\n")


def test_wrong_usage_and_settings_are_refused_before_anything_starts(job: Job) -> None:
    assert job.run()[0] == 2
    assert job.run("true", env={"STOWAGE_WORKERS": "none"})[::2] == (2, "stowage: STOWAGE_WORKERS must be a whole number from 1 to 1024.\n")
    assert job.run("true", options=("--log", "/no/file"))[::2] == (2, "stowage: --log: cannot write /no/file: No such file or directory.\n")
    assert not job.root.exists()


def test_the_log_goes_to_a_file_and_not_among_the_output(job: Job, tmp_path: Path) -> None:
    assert job.run("docker", "images", "--quiet", options=("--log", str(tmp_path / "log"))) == (0, "", "")
    assert "path=/v1." in (tmp_path / "log").read_text()


@pytest.mark.parametrize("where", ["TMPDIR", pytest.param("cwd", marks=matrix)])
def test_a_long_path_is_no_obstacle(job: Job, tmp_path: Path, where: str) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    more: dict[str, Any] = {"env": {"TMPDIR": str(deep)}} if where == "TMPDIR" else {"cwd": deep}
    status, output, errors = job.run("sh", "-c", "echo $DOCKER_HOST; docker images --quiet", **more)
    assert (status, errors) == (0, "")
    folder = Path(output.strip().removeprefix("unix://")).parent
    assert not folder.exists()
    assert os.listdir(deep) == []


def test_the_socket_is_in_a_folder_of_its_user_alone(job: Job) -> None:
    status, output, _ = job.run("sh", "-c", 'umask; stat -c %a "$(dirname "${DOCKER_HOST#unix://}")" "${DOCKER_HOST#unix://}"', umask=0)
    assert (status, output) == (0, "0000\n700\n600\n")


def test_a_process_in_the_background_outlives_the_command_and_delays_nothing(job: Job) -> None:
    status, output, errors = job.run("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!")
    assert (status, errors) == (0, "")
    assert list(job.processes()) == [int(output)]
    assert os.listdir(job.temporary) == []
    os.kill(int(output), signal.SIGKILL)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(number, marks=matrix) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1))]
)
def test_a_signal_to_run_reaches_the_command_while_the_service_answers(job: Job, number: signal.Signals) -> None:
    script = f"trap 'docker images --quiet && exit 3' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    process = job.start("sh", "-c", script)
    assert next(lines_of(process)) == "ready"
    process.send_signal(number)
    assert process.communicate(timeout=SECONDS) == ("", "")
    assert process.returncode == 3


def test_a_command_that_a_signal_ends_is_reported_as_by_a_shell(job: Job) -> None:
    process = job.start("sh", "-c", "echo ready; exec sleep 1000")
    assert next(lines_of(process)) == "ready"
    process.terminate()
    assert process.communicate(timeout=SECONDS) == ("", "")
    assert process.returncode == 128 + signal.SIGTERM


def test_an_ignored_signal_stays_ignored(job: Job) -> None:
    process = job.start("sh", "-c", "echo ready; read line; echo $line", stdin=subprocess.PIPE, preexec_fn=ignore_hangup)
    assert next(lines_of(process)) == "ready"
    process.send_signal(signal.SIGHUP)
    assert process.communicate("done\n", timeout=SECONDS) == ("done\n", "")


def ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def test_sigkill_of_run_takes_the_service_and_the_command_along(job: Job) -> None:
    process = job.start("sh", "-c", "echo ready; exec sleep 1000")
    assert next(lines_of(process)) == "ready"
    assert len(job.processes()) >= 4
    process.kill()
    process.communicate(timeout=SECONDS)


@pytest.mark.parametrize("delay", [0.5, *(pytest.param(delay, marks=matrix) for delay in (0.1, 0.9, 1.3))])
def test_sigkill_during_the_start_leaves_nothing(job: Job, delay: float) -> None:
    process = job.start("sleep", "1000")
    time.sleep(delay)
    process.kill()
    output, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, output) == (-signal.SIGKILL, "")
    poll(lambda: job.left() == ({}, []), SECONDS)


@pytest.mark.parametrize(
    ("number", "delay"),
    [
        (signal.SIGTERM, 0),
        (signal.SIGTERM, 0.1),
        (signal.SIGINT, 0),
        (signal.SIGHUP, 0),
        pytest.param(signal.SIGINT, 0.1, marks=matrix),
        pytest.param(signal.SIGHUP, 0.1, marks=matrix),
    ],
)
def test_a_signal_during_the_start_ends_it(job: Job, number: signal.Signals, delay: float) -> None:
    process = job.start("echo", "not run")
    poll(lambda: os.listdir(job.temporary), SECONDS)
    time.sleep(delay)
    process.send_signal(number)
    assert process.communicate(timeout=SECONDS) == ("", f"stowage: ended by {number.name} before the command was run.\n")
    assert process.returncode == 128 + number


def test_a_service_that_ends_before_the_command_is_reported(job: Job) -> None:
    process = job.start("sh", "-c", "echo ready; read line; exit 3", stdin=subprocess.PIPE)
    assert next(lines_of(process)) == "ready"
    for pid in services(job, process.pid):
        os.kill(pid, signal.SIGKILL)
    poll(lambda: not os.listdir(job.temporary), SECONDS)
    output, errors = process.communicate("go\n", timeout=SECONDS)
    assert (process.returncode, output) == (3, "")
    assert errors.endswith("stowage: the service ended before the command did.\n")


def services(job: Job, run: int) -> list[int]:
    """The leaders of process groups of their own, other than the session's and that of run: gunicorn's parent."""
    return [pid for pid in job.processes() if pid == os.getpgid(pid) != os.getsid(pid) and pid != run]


def test_the_command_has_the_terminal(shell: Terminal) -> None:
    shell.type("$run sh -c 'tty <&0 && stty size && read line && echo got $line'; echo status $?\n")
    shell.expect("/dev/pts/")
    shell.type("a line\n")
    assert "got a line" in shell.expect("status 0")


def test_ctrl_c_interrupts_the_command_once_and_run_waits_for_it(shell: Terminal) -> None:
    shell.type(
        """$run sh -c 'trap "echo cut" INT; echo up; until read line; do :; done; docker images --quiet && exit 5'; echo status $?\n"""
    )
    shell.expect("up\r\n")
    shell.type("\x03")
    shell.expect("cut\r\n")
    shell.type("go on\n")
    assert "cut" not in shell.expect("status 5")


def test_ctrl_z_stops_run_and_its_command_and_fg_continues_both(shell: Terminal, job: Job) -> None:
    shell.type("$run sh -c 'echo up; read line; docker images --quiet && echo got $line'\n")
    shell.expect("up\r\n")
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.expect("$ ")
    (command,) = (pid for pid, line in job.processes().items() if line.startswith("sh -c"))
    poll(lambda: state_of(command) == "T")  # until then it may still take what is typed
    shell.type("fg; echo status $?\n")
    shell.expect("read line")
    shell.type("a line\n")
    assert "got a line" in shell.expect("status 0")


def state_of(pid: int) -> str:
    """The state of a process, as in ps."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_the_end_of_a_terminal_ends_everything(shell: Terminal, job: Job) -> None:
    shell.type("$run sh -c 'echo up; exec sleep 1000'\n")
    shell.expect("up\r\n")
    assert job.processes()
