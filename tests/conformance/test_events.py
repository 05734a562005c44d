"""Events as an unmodified docker CLI shows them: equal to a Docker Engine's, live across the workers, and kept over a restart."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.builders import make_tar, simple_layout
from tests.conformance.conftest import Service, needs
from tests.ports import free_port

Told = tuple[str, str, dict[str, str]]
ROOTFS = make_tar({"a": b"abc"})


@pytest.fixture(scope="module", autouse=True)
def docker_cli() -> None:
    needs("docker")


class Cli:
    """A docker CLI at an engine."""

    def __init__(self, host: str, folder: Path) -> None:
        self._environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_CONFIG": str(folder / "docker-config")}
        self.events: list[list[Told]] = []

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> str:
        done = subprocess.run(["docker", *arguments], env=self._environment, input=stdin, capture_output=True, timeout=120)
        if done.returncode != 0:
            pytest.fail(f"docker {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout.decode().strip()

    def step(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run a command and note what was told of it."""
        since = f"{time.time():.9f}"
        output = self(*arguments, stdin=stdin)
        lines = self("events", "--since", since, "--until", f"{time.time():.9f}", "--format", "{{json .}}").splitlines()
        self.events.append([told(json.loads(line)) for line in lines])
        return output

    @contextmanager
    def watching(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        command = ["docker", "events", "--format", "{{json .}}", *arguments]
        with subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE) as process:
            yield process
            process.kill()


def told(event: dict[str, Any]) -> Told:
    assert (event["Type"], event["scope"]) == ("image", "local")
    return event["Action"], event["Actor"]["ID"], event["Actor"]["Attributes"]


@pytest.fixture
def cli(service: Service, tmp_path: Path) -> Cli:
    return Cli(f"unix://{service.socket}", tmp_path)


def work(cli: Cli, registry: str, folder: Path) -> None:
    """Do everything to images that is told of, a step each."""
    archive, saved, name = folder / "labelled.tar", folder / "saved.tar", f"{registry}/events/app"
    archive.write_bytes(simple_layout("docker.io/library/app:1", config={"Labels": {"a": "b"}}).to_tar())
    cli.step("load", "-i", str(archive))
    identity = cli("image", "inspect", "-f", "{{.Id}}", "app:1")
    for tag in ("1", "1", "2"):
        cli.step("tag", identity, f"{name}:{tag}")
    cli.step("push", f"{name}:1")
    cli.step("push", "-a", name)
    cli.step("save", "-o", str(saved), "app:1", identity)
    cli.step("rmi", f"{name}:2")
    cli.step("rmi", "-f", identity)
    cli.step("pull", f"{name}:1")
    cli.step("pull", f"{name}:1")
    cli.step("pull", "-a", name)
    cli.step("pull", f"{name}@{identity}")
    cli.step("rmi", "-f", f"{name}:1", f"{name}:2")
    cli.step("load", "-i", str(saved))
    cli.step("rmi", "app:1")


def test_the_events_are_those_of_a_docker_engine(cli: Cli, dockerd: str, registry: str, tmp_path: Path) -> None:
    theirs = Cli(dockerd, tmp_path)
    work(theirs, registry, tmp_path)
    work(cli, registry, tmp_path)
    assert cli.events == theirs.events


def test_where_a_docker_engine_tells_less(cli: Cli) -> None:
    """moby's main branch tells of an import's tag and of what a prune removes; the end of a prune is told as the API's description says."""
    named = cli.step("import", "-", "app:1", stdin=ROOTFS)
    nameless = cli.step("import", "-m", "other", "-", stdin=ROOTFS)
    cli.step("image", "prune", "-f")
    (_, _, reclaimed) = cli.events[2][-1]
    assert cli.events == [
        [("tag", named, {"name": "app:1"}), ("import", named, {"name": named})],
        [("import", nameless, {"name": nameless})],
        [("untag", nameless, {"name": nameless}), ("delete", nameless, {"name": nameless}), ("prune", "", reclaimed)],
    ]
    assert int(reclaimed["reclaimed"]) > 0


def test_every_listener_gets_every_event_live_and_in_order(cli: Cli) -> None:
    """With more listeners than workers, each worker has some of them, and of the changes."""
    identity = cli("import", "-", "app:0", stdin=ROOTFS)
    names = [f"app:{number}" for number in range(1, 13)]
    with cli.watching("--filter", "event=tag") as one, cli.watching("--since", "0") as two, cli.watching("--filter", "image=app") as three:
        listeners = (one, two, three)
        assert [json.loads(two.stdout.readline())["Action"] for _ in range(2)] == ["tag", "import"]  # type: ignore[union-attr]
        _until_they_listen(cli, identity, one, three)
        for name in names:
            cli("tag", identity, name)
        assert [_names(listener, names) for listener in listeners] == [names] * 3


def _until_they_listen(cli: Cli, identity: str, *listeners: subprocess.Popen[bytes]) -> None:
    """Make an event again and again until each listener has told one."""
    waiting = {listener.stdout.fileno() for listener in listeners if listener.stdout}
    for descriptor in waiting:
        os.set_blocking(descriptor, False)
    deadline = time.monotonic() + 30
    while waiting and time.monotonic() < deadline:
        cli("tag", identity, "app:0")
        waiting -= {descriptor for descriptor in waiting if _read(descriptor)}
    assert not waiting
    for listener in listeners:
        os.set_blocking(listener.stdout.fileno(), True)  # type: ignore[union-attr]


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return b""


def _names(listener: subprocess.Popen[bytes], wanted: list[str]) -> list[str]:
    """The names that were told, without those of the beginning, up to the last wanted."""
    told: list[str] = []
    while wanted[-1] not in told:
        told.append(json.loads(listener.stdout.readline())["Actor"]["Attributes"]["name"])  # type: ignore[union-attr]
    return [name for name in told if name != "app:0"]


def test_events_survive_a_restart_and_their_history_is_bounded(tmp_path: Path) -> None:
    service = Service(tmp_path / "stowage", free_port(), {"STOWAGE_EVENT_HISTORY": "3"})
    service.start()
    cli = Cli(f"unix://{service.socket}", tmp_path)
    identity = cli("import", "-", "app:0", stdin=ROOTFS)
    for number in range(3):
        cli("tag", identity, f"app:{number}")
    service.stop()
    service.start()
    cli("rmi", "app:1")
    lines = cli(
        "events", "--since", "0", "--until", f"{time.time():.9f}", "--format", "{{.Action}} {{.Actor.Attributes.name}}"
    ).splitlines()
    service.stop()
    assert lines == ["tag app:1", "tag app:2", "untag app:1"]


def test_listeners_are_bounded_noticed_when_they_leave_and_sent_away_when_the_service_stops(tmp_path: Path) -> None:
    service = Service(tmp_path / "stowage", free_port(), {"STOWAGE_WORKERS": "1", "STOWAGE_THREADS": "16"})
    service.start()
    with ExitStack() as staying:
        with _listening(service) as first:
            second = staying.enter_context(_listening(service))
            assert [first.status, second.status] == [200, 200]
            with _listening(service) as refused:
                assert refused.status == 503
        third = staying.enter_context(_listening_soon(service))
        assert third.status == 200
        service.stop()
        assert [second.read(), third.read()] == [b"", b""]


@contextmanager
def _listening(service: Service) -> Iterator[http.client.HTTPResponse]:
    """The beginning of an endless answer, on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as connection:
        connection.request("GET", "/events")
        with connection.getresponse() as answer:
            yield answer


@contextmanager
def _listening_soon(service: Service) -> Iterator[http.client.HTTPResponse]:
    """The first answer that is no refusal, or the last within some seconds."""
    deadline = time.monotonic() + 10
    while True:
        with _listening(service) as answer:
            if answer.status != 503 or time.monotonic() > deadline:
                yield answer
                return
        time.sleep(0.05)
