"""Commands of the docker CLI that are not about images: what is true, or a sentence that says why not."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest

from tests.conformance.conftest import Service, free_port, needs


@pytest.fixture(scope="module", autouse=True)
def docker_cli() -> None:
    needs("docker")


@pytest.fixture(scope="module")
def empty_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for the commands that leave nothing behind."""
    running = Service(tmp_path_factory.mktemp("empty") / "stowage", free_port())
    running.start()
    yield running
    running.stop()


def refusal(service: Service, *arguments: str, stdin: bytes | None = None) -> str:
    """What the CLI says of a command that fails."""
    done = service.docker(*arguments, stdin=stdin, check=False)
    assert done.returncode != 0
    return done.stderr.decode()


def test_info_shows_the_store_and_that_containers_cannot_run(empty_service: Service) -> None:
    done = empty_service.docker("info")
    shown = [line.strip() for line in done.stdout.decode().splitlines()]
    for line in (
        "Containers: 0",
        "Images: 0",
        "Storage Driver: stowage",
        "driver-type: io.containerd.snapshotter.v1",
        "Store: filesystem",
        "Database: sqlite",
        "Swarm: inactive",
        "127.0.0.0/8",
        f"Docker Root Dir: {empty_service.root}",
    ):
        assert line in shown
    warnings = [line for line in done.stderr.decode().splitlines() if line.startswith("WARNING")]
    assert warnings == ["WARNING: Stowage is an image-only engine: it cannot run containers"]
    assert json.loads(empty_service.docker("info", "--format", "{{json .Runtimes}}").stdout) == {}


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("ps -a -q", id="ps"),
        pytest.param("ps --filter status=running -q", id="ps with a filter"),
        pytest.param("volume ls -q", id="volume ls"),
        pytest.param("network ls -q", id="network ls"),
        pytest.param("plugin ls -q", id="plugin ls"),
    ],
)
def test_lists_are_empty(empty_service: Service, command: str) -> None:
    assert empty_service.docker(*command.split()).stdout == b""


@pytest.mark.parametrize("command", ["system prune -f", "system prune -a -f --volumes", "system prune -f --filter label!=keep"])
def test_system_prune_removes_what_there_is(service: Service, command: str) -> None:
    service.docker("import", "-", stdin=bytes(10240))
    before = service.docker("images", "-a", "-q").stdout.split()
    said = service.docker(*command.split()).stdout.decode()
    assert len(before) == 1
    assert "Deleted Images:" in said
    assert "Total reclaimed space: " in said
    assert service.docker("images", "-a", "-q").stdout == b""


@pytest.mark.parametrize("kind", ["container", "volume", "network", "builder"])
def test_prunes_of_what_is_not_there_succeed(empty_service: Service, kind: str) -> None:
    empty_service.docker(kind, "prune", "-f")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        pytest.param("logs x", "No such container: x", id="logs"),
        pytest.param("exec x true", "No such container: x", id="exec"),
        pytest.param("rm x", "No such container: x", id="rm"),
        pytest.param("kill x", "cannot kill container: x: No such container: x", id="kill"),
        pytest.param("cp x:/a -", "No such container: x", id="cp"),
        pytest.param("volume inspect x", "get x: no such volume", id="volume inspect"),
        pytest.param("network inspect x", "network x not found", id="network inspect"),
        pytest.param("plugin inspect x", 'plugin "x" not found', id="plugin inspect"),
        pytest.param("inspect x", "No such object: x", id="inspect of anything"),
        pytest.param("service ls", "This node is not a swarm manager.", id="service ls"),
        pytest.param("node ls", "This node is not a swarm manager.", id="node ls"),
        pytest.param("swarm leave", "This node is not part of a swarm", id="swarm leave"),
        pytest.param("swarm init", "cannot be a node of a swarm", id="swarm init"),
        pytest.param("volume create x", "cannot make volumes", id="volume create"),
        pytest.param("network create x", "cannot make networks", id="network create"),
        pytest.param("commit x", "cannot run containers", id="commit"),
    ],
)
def test_refusals_say_why(empty_service: Service, command: str, words: str) -> None:
    assert words in refusal(empty_service, *command.split())


def test_run_says_that_containers_cannot_run(service: Service) -> None:
    service.docker("import", "-", "app:1", stdin=bytes(10240))
    said = refusal(service, "run", "--rm", "app:1", "true")
    assert "Stowage is an image-only engine: it pulls, stores and pushes images, and cannot run containers" in said


def test_build_says_that_images_cannot_be_built(empty_service: Service) -> None:
    assert "cannot build images" in refusal(empty_service, "build", "-", stdin=b"FROM scratch\nLABEL a=b\n")


def test_the_description_is_served(empty_service: Service) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{empty_service.port}/openapi.json", timeout=30) as answer:
        assert json.load(answer)["info"]["title"] == "Stowage"
