"""`make cluster`: the docker CLI at both nodes through nginx, and a clean end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.conftest import REPOSITORY, needs
from tests.conformance.test_crash import archive
from tests.conformance.test_nodes import cli, cluster_folder, names
from tests.ports import free_port
from tests.postgresql import program
from tests.waiting import poll

AS_ROOT: list[str] = []
AS_USER = ["unshare", "--user", "--map-user=1", "--map-group=1"]
"""The same files belong to an ordinary user, who has a name on every system."""


@dataclass
class Running:
    """A cluster: DOCKER_HOST of nginx and of each node."""

    process: subprocess.Popen[str]
    host: str
    nodes: list[str]

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def running(folder: Path, before: list[str]) -> Iterator[Running]:
    command = [*before, sys.executable, "-m", "benchmarks.cluster", "--folder", str(folder), "--port", str(free_port())]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}  # so that it counts ports of its own
    with subprocess.Popen(command, cwd=REPOSITORY, env=own, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            words = ""
            while "Ctrl-C stops" not in words:
                line = process.stdout.readline()
                assert line, "it has ended"
                words += line
            yield Running(process, re.findall(r"export DOCKER_HOST=(\S+)", words)[0], re.findall(r"unix:([^,\s]+)", words))
        finally:
            if process.poll() is None:
                process.terminate()


def left(folder: Path) -> list[str]:
    """The command lines of processes that have to do with the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in told and int(process.name) != os.getpid():
            found.append((process / "cmdline").read_text())
    return found


@pytest.fixture(autouse=True)
def programs() -> None:
    needs("docker")
    program("initdb")
    pytest.importorskip("stowage.services.content.object_store")


@pytest.mark.parametrize("before", [AS_ROOT, AS_USER], ids=["as it is", "as an ordinary user"])
def test_one_command_runs_it_until_ctrl_c(tmp_path: Path, registry: str, before: list[str]) -> None:
    if before and subprocess.run([*before, "true"], check=False, capture_output=True).returncode:
        pytest.skip("there are no user namespaces here")
    (tmp_path / "image.tar").write_bytes(archive("team/app:1", 1))
    with cluster_folder(tmp_path / "c") as folder:
        with running(folder, before) as cluster:
            hosts = [f"unix://{path}" for path in cluster.nodes]
            assert len(hosts) == 2
            with heard(hosts[1]) as events:
                assert cli(hosts[0], "load", "--input", str(tmp_path / "image.tar")) == "Loaded image: team/app:1\n"
                poll(lambda: "load" in events())
            for host in hosts:
                assert names(host) == {"team/app:1"}
            cli(cluster.host, "tag", "team/app:1", f"{registry}/team/app:1")
            cli(cluster.host, "push", f"{registry}/team/app:1")
            cli(hosts[1], "rmi", "team/app:1", f"{registry}/team/app:1")
            assert names(hosts[0]) == set()
            cli(cluster.host, "pull", f"{registry}/team/app:1")
            for number, host in enumerate(hosts):
                cli(host, "save", "--output", str(tmp_path / f"{number}.tar"), f"{registry}/team/app:1")
            assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()
            assert cluster.end(signal.SIGINT) == 0
            assert left(folder) == []
        with running(folder, before) as cluster:
            assert names(cluster.host) == {f"{registry}/team/app:1"}
            assert cluster.end(signal.SIGTERM) == 0
            assert left(folder) == []


@contextmanager
def heard(host: str) -> Iterator[Callable[[], str]]:
    """What a listener to events has heard so far."""
    lines: list[str] = []
    environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_CONFIG": "/nonexistent"}
    command = ["docker", "events", "--since", "0", "--format", "{{.Action}}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(iter(process.stdout.readline, ""),))
        reader.start()
        try:
            yield lambda: "".join(lines)
        finally:
            process.kill()
            reader.join()
