"""Commands of the docker CLI that are not about images: what is true, or a sentence that says why not."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.conformance.conftest import Service, needs
from tests.ports import free_port

ROOTFS = bytes(10240)
"""An archive of nothing."""
ABOUT_A_CONTAINER = (
    "attach x", "container inspect x", "diff x", "exec x true", "export x", "logs x", "pause x", "port x", "rename x y", "restart x",
    "rm x", "start x", "stats x --no-stream", "stop x", "top x", "unpause x", "update --cpus 1 x", "wait x",
)  # fmt: skip


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


def test_info_as_json_has_no_error_and_one_warning(empty_service: Service) -> None:
    told = json.loads(empty_service.docker("system", "info", "--format", "json").stdout)
    assert told["Warnings"] == ["WARNING: Stowage is an image-only engine: it cannot run containers"]
    assert "ServerErrors" not in told
    assert [told[key] for key in ("Containers", "Images", "Driver", "OSType")] == [0, 0, "stowage", "linux"]


@pytest.mark.parametrize(
    ("command", "header"),
    [
        pytest.param("ps -a -q", "", id="ps"),
        pytest.param("ps --filter status=running -q", "", id="ps with a filter"),
        pytest.param("container ls", "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES", id="container ls"),
        pytest.param("container ls -a --size", "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES SIZE", id="container ls with sizes"),
        pytest.param("stats --no-stream", "CONTAINER ID NAME CPU % MEM USAGE / LIMIT MEM % NET I/O BLOCK I/O PIDS", id="stats"),
        pytest.param("volume ls", "DRIVER VOLUME NAME", id="volume ls"),
        pytest.param("volume ls -q", "", id="names of volumes"),
        pytest.param("network ls", "NETWORK ID NAME DRIVER SCOPE", id="network ls"),
        pytest.param("network ls -q", "", id="ids of networks"),
        pytest.param("plugin ls", "ID NAME DESCRIPTION ENABLED", id="plugin ls"),
        pytest.param("plugin ls -q", "", id="ids of plugins"),
    ],
)
def test_lists_are_empty(empty_service: Service, command: str, header: str) -> None:
    assert empty_service.docker(*command.split()).stdout.decode().split() == header.split()


def test_a_context_leads_to_the_service(empty_service: Service) -> None:
    empty_service.docker("context", "create", "there", "--docker", f"host=unix://{empty_service.socket}")
    assert empty_service.docker("--context", "there", "version", "--format", "{{.Server.APIVersion}}").stdout == b"1.56\n"
    empty_service.docker("context", "rm", "there")


@pytest.fixture
def images(empty_service: Service) -> Iterator[dict[str, str]]:
    """The IDs of an image with a name and a label, of one with a name, and of one without."""
    commands = {
        "kept": ("-c", "LABEL keep=yes", "-", "kept:1"),
        "named": ("-m", "named", "-", "named:1"),
        "nameless": ("-m", "nameless", "-"),
    }
    yield {name: empty_service.docker("import", *command, stdin=ROOTFS).stdout.decode().strip() for name, command in commands.items()}
    empty_service.docker("image", "prune", "-a", "-f")


@pytest.mark.parametrize(
    ("command", "removed"),
    [
        pytest.param("system prune -f", {"nameless"}, id="what has no name"),
        pytest.param("system prune -af", {"kept", "named", "nameless"}, id="all"),
        pytest.param("system prune -af --volumes", {"kept", "named", "nameless"}, id="all, and volumes"),
        pytest.param("system prune -af --filter label=keep", {"kept"}, id="what has a label"),
        pytest.param("system prune -af --filter label!=keep", {"named", "nameless"}, id="what has it not"),
        pytest.param("system prune -af --filter until=24h", set(), id="what is older"),
        pytest.param("image prune -f", {"nameless"}, id="images without a name"),
        pytest.param("image prune -af --filter label=keep=yes", {"kept"}, id="images with a value of a label"),
        pytest.param("image prune -af --filter label=keep=no", set(), id="images with another value"),
        pytest.param("image prune -af --filter until=2000-01-01", set(), id="older images"),
    ],
)
def test_a_prune_says_what_it_removes(empty_service: Service, images: dict[str, str], command: str, removed: set[str]) -> None:
    said = empty_service.docker(*command.split()).stdout.decode().splitlines()
    assert {line for line in said if line.startswith("deleted: ")} >= {f"deleted: {images[name]}" for name in removed}
    assert said[-1].startswith("Total reclaimed space: ")
    assert (said[-1] == "Total reclaimed space: 0B") == (not removed)
    left = set(empty_service.docker("images", "-aq", "--no-trunc").stdout.decode().split())
    assert left == {images[name] for name in images.keys() - removed}


def test_events_of_a_time_are_shown_by_filter(empty_service: Service) -> None:
    since = f"{time.time():.9f}"
    empty_service.docker("import", "-", "app:1", stdin=ROOTFS)
    empty_service.docker("tag", "app:1", "other:2")
    empty_service.docker("rmi", "app:1", "other:2")
    period = ("--since", since, "--until", f"{time.time():.9f}", "--format", "{{.Action}} {{.Actor.Attributes.name}}")

    def told(*filters: str) -> list[str]:
        return empty_service.docker("system", "events", *period, *(f"--filter={one}" for one in filters)).stdout.decode().splitlines()

    assert told("event=tag", "event=untag") == ["tag app:1", "tag other:2", "untag app:1", "untag other:2"]
    assert told("type=image", "image=app", "event=tag") == ["tag app:1"]
    assert told("type=container") == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param("container", "Total reclaimed space: 0B", id="containers"),
        pytest.param("volume", "Total reclaimed space: 0B", id="volumes"),
        pytest.param("builder", "Total reclaimed space: 0B", id="build cache"),
        pytest.param("network", "", id="networks"),
    ],
)
def test_prunes_of_what_is_not_there_succeed(empty_service: Service, monkeypatch: pytest.MonkeyPatch, kind: str, words: str) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    assert empty_service.docker(kind, "prune", "-f").stdout.decode().strip() == words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        *(pytest.param(command, "No such container: x", id=command) for command in ABOUT_A_CONTAINER),
        pytest.param("kill x", "cannot kill container: x: No such container: x", id="kill"),
        pytest.param("cp x:/a -", "No such container: x", id="cp"),
        pytest.param("volume inspect x", "get x: no such volume", id="volume inspect"),
        pytest.param("volume rm x", "get x: no such volume", id="volume rm"),
        pytest.param("network inspect x", "network x not found", id="network inspect"),
        pytest.param("network rm x", "network x not found", id="network rm"),
        pytest.param("plugin inspect x", 'plugin "x" not found', id="plugin inspect"),
        pytest.param("plugin install x", "cannot run plugins", id="plugin install"),
        pytest.param("inspect x", "No such object: x", id="inspect of anything"),
        pytest.param("service ls", "This node is not a swarm manager.", id="service ls"),
        pytest.param("node ls", "This node is not a swarm manager.", id="node ls"),
        pytest.param("stack ls", "This node is not a swarm manager.", id="stack ls"),
        pytest.param("secret ls", "This node is not a swarm manager.", id="secret ls"),
        pytest.param("config ls", "This node is not a swarm manager.", id="config ls"),
        pytest.param("swarm leave", "This node is not part of a swarm", id="swarm leave"),
        pytest.param("swarm init", "cannot be part of a swarm", id="swarm init"),
        pytest.param("volume create x", "cannot make volumes", id="volume create"),
        pytest.param("network create x", "cannot make networks", id="network create"),
        pytest.param("swarm join --token x 127.0.0.1:1", "cannot be part of a swarm", id="swarm join"),
        pytest.param("commit x", "cannot run containers", id="commit"),
        pytest.param("create x", "cannot run containers", id="create"),
        pytest.param("system prune -af --filter nosuch=1", "invalid filter 'nosuch'", id="system prune with a filter that is none"),
    ],
)
def test_refusals_say_why(empty_service: Service, command: str, words: str) -> None:
    assert words in refusal(empty_service, *command.split())


def test_run_says_that_containers_cannot_run(service: Service) -> None:
    service.docker("import", "-", "app:1", stdin=ROOTFS)
    said = refusal(service, "run", "--rm", "app:1", "true")
    assert "Stowage is an image-only engine: it pulls, stores and pushes images, and cannot run containers" in said


def test_build_says_that_images_cannot_be_built(empty_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    assert "cannot build images" in refusal(empty_service, "build", "-", stdin=b"FROM scratch\nLABEL a=b\n")


def test_the_description_is_served(empty_service: Service) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{empty_service.port}/openapi.json", timeout=30) as answer:
        assert json.load(answer)["info"]["title"] == "Stowage"
