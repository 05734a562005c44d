"""An unmodified docker compose: pulls, pushes and removals end as with a Docker Engine, and what needs a container is refused with the
reason.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders import Json, Layout, make_layer
from tests.conformance.conftest import Service, needs, skopeo
from tests.ports import free_port

PROJECT = """
name: demo
services:
  one: {{image: "{registry}/compose/one:1", depends_on: [other]}}
  other: {{image: "{registry}/compose/foreign:1", platform: linux/arm64/v8}}
  pinned: {{image: "{registry}/compose/pinned@{digest}"}}
  built: {{image: "{registry}/compose/{engine}:1", build: .}}
"""
ALONE = """
name: alone
services:
  one: {{image: "{registry}/compose/one:1", network_mode: none}}
"""
MISSING = """
name: missing
services:
  missing: {{image: "{registry}/compose/nosuch:1"}}
  one: {{image: "{registry}/compose/one:1"}}
"""


@dataclass(frozen=True)
class Engine:
    """An engine without containers, and a folder with the projects above."""

    name: str
    host: str
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.folder), "DOCKER_BUILDKIT": "0"}
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=60)

    def compose(self, *arguments: str) -> tuple[int, str, set[str]]:
        """The exit code, the standard output, and the lines of the standard error without the blanks around them."""
        done = self.run("docker", "compose", *arguments)
        return done.returncode, done.stdout, {line.strip() for line in done.stderr.splitlines()}

    def inspect(self, name: str) -> Json:
        return dict(json.loads(self.run("docker", "image", "inspect", name).stdout)[0])

    def emptied(self) -> Engine:
        if identities := self.run("docker", "images", "-aq").stdout.split():
            self.run("docker", "rmi", "-f", *identities)
        return self

    def images(self) -> set[str]:
        """The repositories of the images, without registry and folder."""
        listed = self.run("docker", "images", "--format", "{{.Repository}}").stdout.split()
        return {repository.rpartition("/")[2] for repository in listed}


@pytest.fixture(scope="module")
def digest(registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of compose/pinned, which is at the registry beside compose/one and compose/foreign, an index of another platform alone."""
    layout = Layout()
    pinned = layout.image([make_layer("pinned")])
    layout.tag(layout.image([make_layer("one"), make_layer("two", 1 << 20)]), "docker.io/library/source:one")
    layout.tag(layout.multi_platform(("linux/arm64/v8",)), "docker.io/library/source:foreign")
    layout.tag(pinned, "docker.io/library/source:pinned")
    archive = tmp_path_factory.mktemp("compose") / "source.tar"
    archive.write_bytes(layout.to_tar())
    for name in ("one", "foreign", "pinned"):
        target = f"docker://{registry}/compose/{name}:1"
        skopeo("copy", "--all", "--quiet", "--dest-tls-verify=false", f"oci-archive:{archive}:{name}", target)
    return str(pinned["digest"])


def make_engine(name: str, host: str, folder: Path, registry: str, digest: str) -> Engine:
    needs("docker")
    for file, project in (("compose.yaml", PROJECT), ("alone.yaml", ALONE), ("missing.yaml", MISSING)):
        (folder / file).write_text(project.format(registry=registry, digest=digest, engine=name))
    (folder / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    engine = Engine(name, host, folder)
    if engine.run("docker", "compose", "version").returncode != 0:
        pytest.skip("docker compose is not installed")
    return engine


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, registry: str, digest: str) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("stowage")
    running = Service(folder / "stowage", free_port())
    running.start()
    try:
        yield make_engine("stowage", f"unix://{running.socket}", folder, registry, digest)
    finally:
        running.stop()


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory, dockerd: str, registry: str, digest: str) -> Engine:
    return make_engine("docker", dockerd, tmp_path_factory.mktemp("docker"), registry, digest)


@pytest.fixture
def stowage(service: Engine) -> Engine:
    """A service without images."""
    return service.emptied()


@pytest.fixture(params=["service", "measure"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """A service, and the Docker Engine that says whether a test expects the right things; both without images."""
    found: Engine = request.getfixturevalue(request.param)
    return found.emptied()


def test_a_pull_gets_each_service_its_image_for_its_platform_and_digest(engine: Engine, registry: str, digest: str) -> None:
    code, _, said = engine.compose("pull", "one", "other", "pinned")
    assert (code, {line for line in said if line.endswith("Pulled")}) == (0, {"one Pulled", "other Pulled", "pinned Pulled"})
    assert engine.images() == {"one", "foreign", "pinned"}
    other = engine.inspect(f"{registry}/compose/foreign:1")
    assert (other["Os"], other["Architecture"]) == ("linux", "arm64")
    assert engine.inspect(f"{registry}/compose/pinned@{digest}")["RepoDigests"] == [f"{registry}/compose/pinned@{digest}"]


@pytest.mark.parametrize(
    ("options", "images"),
    [
        pytest.param("pull one", {"one"}, id="one service"),
        pytest.param("pull --include-deps one", {"one", "foreign"}, id="and what it depends on"),
        pytest.param("pull --policy missing pinned", {"pinned"}, id="what is missing"),
        pytest.param("pull --ignore-buildable", {"one", "foreign", "pinned"}, id="what is not built"),
    ],
)
def test_a_pull_gets_what_its_options_say(engine: Engine, options: str, images: set[str]) -> None:
    code, _, said = engine.compose(*options.split())
    assert (code, engine.images()) == (0, images)
    assert ("built Skipped - Image can be built" in said) == ("--ignore-buildable" in options)


def test_a_quiet_pull_says_nothing(engine: Engine) -> None:
    assert engine.compose("pull", "-q", "one") == (0, "", set())
    assert engine.images() == {"one"}


def test_what_is_here_is_not_pulled_again_when_only_the_missing_are_wanted(engine: Engine) -> None:
    engine.compose("pull", "one")
    assert engine.compose("pull", "--policy", "missing", "one") == (0, "", {"one Skipped - Image is already present locally"})


def test_a_pull_of_what_is_at_no_registry_fails_with_the_reason(engine: Engine, registry: str) -> None:
    name = f"{registry}/compose/nosuch:1"
    reason = f'failed to resolve reference "{name}": {name}: not found'
    code, _, said = engine.compose("-f", "missing.yaml", "pull")
    assert code == 18
    assert {f"missing Error {reason}", f"Error response from daemon: {reason}"} <= said
    code, _, said = engine.compose("-f", "missing.yaml", "pull", "--ignore-pull-failures")
    assert code == 0
    assert {f"missing Error {reason}", "one Pulled"} <= said
    assert engine.images() == {"one"}


def test_a_push_sends_the_images_that_the_project_builds(engine: Engine, registry: str, digest: str) -> None:
    name = f"{registry}/compose/{engine.name}:1"
    code, _, said = engine.compose("push")
    assert (code, f"tag does not exist: {name}" in said) == (1, True)

    engine.compose("pull", "pinned")
    engine.run("docker", "tag", f"{registry}/compose/pinned@{digest}", name)
    code, _, said = engine.compose("push")
    assert code == 0
    assert {"one Skipped", "other Skipped", "pinned Skipped"} <= said
    assert json.loads(skopeo("inspect", "--no-tags", "--tls-verify=false", f"docker://{name}"))["Digest"] == digest


def test_a_project_is_taken_down_with_its_images(engine: Engine) -> None:
    engine.compose("pull", "one", "other", "pinned")
    assert engine.compose("down", "--rmi", "all")[0] == 0
    assert engine.images() == set()


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        pytest.param("ps --all", 0, "NAME IMAGE COMMAND SERVICE CREATED STATUS PORTS", id="ps"),
        pytest.param("ls --all", 0, "NAME STATUS CONFIG FILES", id="ls"),
        pytest.param("images", 0, "CONTAINER REPOSITORY TAG IMAGE ID SIZE", id="images"),
        pytest.param("stats --no-stream", 0, "CONTAINER ID NAME CPU % MEM USAGE / LIMIT MEM % NET I/O BLOCK I/O PIDS", id="stats"),
        pytest.param("logs", 0, "", id="logs"),
        pytest.param("top", 0, "", id="top"),
        pytest.param("stop", 0, "", id="stop"),
        pytest.param("down --volumes", 0, "", id="down"),
        pytest.param("kill", 0, "no container to kill", id="kill"),
        pytest.param("rm -f", 0, "No stopped containers", id="rm"),
        pytest.param("start pinned", 1, 'service "pinned" has no container to start', id="start"),
        pytest.param("exec one true", 1, 'service "one" is not running', id="exec"),
        pytest.param("port one 80", 1, 'service "one" is not running', id="port"),
        pytest.param("wait one", 1, 'no containers for project "demo"', id="wait"),
    ],
)
def test_a_project_without_containers_is_shown_as_it_is(engine: Engine, command: str, code: int, words: str) -> None:
    done = engine.run("docker", "compose", *command.split())
    assert (done.returncode, " ".join((done.stdout + done.stderr).split())) == (code, words)


@pytest.mark.parametrize(
    ("command", "images", "deed"),
    [
        pytest.param("up -d one", {"one", "foreign"}, "make networks", id="up"),
        pytest.param("-f alone.yaml up -d", {"one"}, "run containers", id="up without a network"),
        pytest.param("-f alone.yaml create", {"one"}, "run containers", id="create"),
        pytest.param("-f alone.yaml run one true", {"one"}, "run containers", id="run"),
        pytest.param("build built", set(), "build images", id="build"),
    ],
)
def test_images_are_pulled_and_then_the_last_line_says_why_nothing_runs(stowage: Engine, command: str, images: set[str], deed: str) -> None:
    done = stowage.run("docker", "compose", *command.split())
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith(f"Stowage is an image-only engine: it pulls, stores and pushes images, and cannot {deed}")
    assert stowage.images() == images


def test_the_program_of_the_older_name_pulls_too(stowage: Engine) -> None:
    needs("docker-compose")
    assert stowage.run("docker-compose", "pull", "one").returncode == 0
    assert stowage.images() == {"one"}
