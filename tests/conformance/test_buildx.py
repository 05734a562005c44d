"""An unmodified docker buildx: its imagetools read and make what the service pushes and pulls, and builds are refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import Json, Layout, digest_of, make_layer, on_platform
from tests.conformance.conftest import Service, needs, skopeo
from tests.ports import free_port

PLATFORMS = ("linux/amd64", "linux/arm64")
BUILDKIT = "moby/buildkit:buildx-stable-1"
REFUSAL = "Stowage is an image-only engine: it pulls, stores and pushes images, and cannot "


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[Service]:
    """A service for which the registry is a mirror of docker.io."""
    needs("docker")
    service = Service(tmp_path_factory.mktemp("buildx") / "stowage", free_port(), {"STOWAGE_REGISTRY_MIRRORS": f"http://{registry}"})
    service.start()
    yield service
    service.stop()


@pytest.fixture
def service(running: Service) -> Service:
    """The service, without images."""
    if running.docker("buildx", "version", check=False).returncode != 0:
        pytest.skip("docker buildx is not installed")
    running.docker("image", "prune", "-a", "-f")
    return running


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An index of two platforms, each with SBOM and provenance, as built:1; its images alone as amd64:1 and arm64:1."""
    layout = Layout()
    images = [on_platform(layout.image([make_layer("base"), make_layer(platform)], platform=platform), platform) for platform in PLATFORMS]
    layout.tag(layout.index([*images, *map(layout.attestation, images)]), "docker.io/library/built:1")
    for image in images:
        layout.tag(image, f"docker.io/library/{image['platform']['architecture']}:1")
    path = tmp_path / "built.tar"
    path.write_bytes(layout.to_tar())
    return path


def push(service: Service, archive: Path, *names: str) -> None:
    """Load the archive, and push `LOCAL:1` to each name that ends with it."""
    service.docker("load", "-i", str(archive))
    for name in names:
        service.docker("tag", name.rpartition("/")[2], name)
        service.docker("push", name)


def image_id(service: Service, name: str) -> str:
    return service.docker("image", "inspect", "--format", "{{.Id}}", name).stdout.decode().strip()


def inspect(service: Service, name: str, form: str) -> Json:
    shown = service.docker("buildx", "imagetools", "inspect", "--format", f"{{{{json .{form}}}}}", name).stdout
    return dict(json.loads(shown))


def refusal(service: Service, *arguments: str) -> str:
    """The last line of what is said by a command that fails."""
    done = service.docker(*arguments, check=False)
    assert done.returncode != 0
    return done.stderr.decode().splitlines()[-1]


def test_imagetools_read_what_the_service_pushed(service: Service, registry: str, archive: Path) -> None:
    name = f"{registry}/buildx/built:1"
    push(service, archive, name)
    manifest = inspect(service, name, "Manifest")
    assert manifest["digest"] == image_id(service, name)
    assert [entry["platform"]["architecture"] for entry in manifest["manifests"]] == ["amd64", "arm64", "unknown", "unknown"]
    assert digest_of(service.docker("buildx", "imagetools", "inspect", "--raw", name).stdout) == manifest["digest"]
    assert {key: image["architecture"] for key, image in inspect(service, name, "Image").items()} == dict(
        zip(PLATFORMS, ("amd64", "arm64"), strict=True)
    )
    about = {platform: {"of": entry["digest"]} for platform, entry in zip(PLATFORMS, manifest["manifests"], strict=False)}
    assert inspect(service, name, "SBOM") == {platform: {"SPDX": statement} for platform, statement in about.items()}
    assert inspect(service, name, "Provenance") == {platform: {"SLSA": statement} for platform, statement in about.items()}


def test_an_index_that_imagetools_made_is_pulled_and_pushed_as_it_is(service: Service, registry: str, archive: Path) -> None:
    sources = (f"{registry}/buildx/amd64:1", f"{registry}/buildx/arm64:1")
    push(service, archive, *sources)
    service.docker("image", "prune", "-a", "-f")
    made, back = f"{registry}/buildx/made:1", f"{registry}/buildx/back:1"
    service.docker("buildx", "imagetools", "create", "--annotation", "index:stage=test", "-t", made, *sources)
    raw = service.docker("buildx", "imagetools", "inspect", "--raw", made).stdout
    assert json.loads(raw)["annotations"] == {"stage": "test"}

    for platform in PLATFORMS:
        service.docker("pull", "--platform", platform, made)
    assert image_id(service, made) == digest_of(raw)
    service.docker("tag", made, back)
    service.docker("push", back)
    assert service.docker("buildx", "imagetools", "inspect", "--raw", back).stdout == raw
    for platform in PLATFORMS:
        shown = json.loads(skopeo("inspect", "--no-tags", "--tls-verify=false", f"--override-arch={platform[6:]}", f"docker://{back}"))
        assert shown["Architecture"] == platform[6:]


def test_there_is_one_builder_and_it_does_not_run(service: Service) -> None:
    listed = [line.split() for line in service.docker("buildx", "ls").stdout.decode().splitlines()]
    assert [row for row in listed if row[0].startswith("default")] == [["default*", "docker-container"]]
    assert listed[-1][-2:] == ["default", "inactive"]
    shown = service.docker("buildx", "inspect").stdout.decode()
    assert [line.split(":")[1].strip() for line in shown.splitlines() if line.startswith(("Driver", "Status"))] == [
        "docker-container",
        "inactive",
    ]
    service.docker("buildx", "stop")


@pytest.mark.parametrize("command", ["buildx du", "buildx prune -f", "builder prune -f"])
def test_a_builder_that_does_not_run_has_no_cache(service: Service, command: str) -> None:
    assert "No such container: buildx_buildkit_default" in refusal(service, *command.split())


@pytest.mark.parametrize("command", ["build", "buildx build", "buildx inspect --bootstrap"])
def test_a_builder_cannot_start(service: Service, registry: str, archive: Path, tmp_path: Path, command: str) -> None:
    """buildx pulls BuildKit's image before it learns that there are no containers."""
    service.docker("load", "-i", str(archive))
    service.docker("tag", "amd64:1", f"{registry}/{BUILDKIT}")
    service.docker("push", f"{registry}/{BUILDKIT}")
    service.docker("image", "prune", "-a", "-f")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    context = () if "inspect" in command else (str(tmp_path),)
    assert refusal(service, *command.split(), *context).endswith(f"{REFUSAL}run containers")
    assert service.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode().split() == [BUILDKIT]


def test_a_build_without_buildx_is_refused_at_once(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    assert refusal(service, "build", str(tmp_path)).endswith(f"{REFUSAL}build images")
    assert service.docker("builder", "prune", "-f").stdout == b"Total reclaimed space: 0B\n"
