"""One platform of an index and its attestation: saved into an archive for others, and loaded from one."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.builders import PREDICATE_PROVENANCE, PREDICATE_SBOM, Layout, blob_path
from tests.conformance.conftest import Service, needs, skopeo

NAME = "team/app:1"
PLATFORM = urllib.parse.quote('{"os": "linux", "architecture": "amd64"}')


@pytest.fixture
def service(emptied: Service) -> Service:
    return emptied


def images(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}/v1.56/images"


def load(service: Service, query: str = "") -> None:
    """Load an index of several platforms, each with an attestation."""
    layout = Layout()
    layout.tag(layout.multi_platform(), f"docker.io/{NAME}")
    request = urllib.request.Request(f"{images(service)}/load{query}", layout.to_tar(), {"Content-Type": "application/x-tar"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert b"Loaded image" in answer.read()


@pytest.fixture
def archive(service: Service, tmp_path: Path) -> Path:
    """The amd64 image of an index with attestations, as the service saves it."""
    load(service)
    saved = tmp_path / "saved.tar"
    urllib.request.urlretrieve(f"{images(service)}/{NAME}/get?platform={PLATFORM}", saved)
    return saved


def entries(archive: Path) -> list[Any]:
    """What index.json of the archive lists: the image and its attestation."""
    done = subprocess.run(["tar", "-xOf", str(archive), "index.json"], capture_output=True, check=True)
    image, attestation = json.loads(done.stdout)["manifests"]
    assert attestation["annotations"] == {"io.containerd.manifest.subject": image["digest"]}
    return [image, attestation]


def test_a_docker_engine_loads_it_and_lists_the_image_alone(archive: Path, dockerd: str) -> None:
    needs("docker")
    environment = {**os.environ, "DOCKER_HOST": dockerd, "DOCKER_CONFIG": str(archive.parent / "docker-config")}

    def docker(*arguments: str) -> list[str]:
        done = subprocess.run(["docker", *arguments], env=environment, capture_output=True, check=True, timeout=120)
        return done.stdout.decode().splitlines()

    image, _ = entries(archive)
    assert docker("load", "-i", str(archive))[0] == f"Loaded image: {NAME}"
    assert docker("images", "--all", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}") == [f"{image['digest']} {NAME}"]


def test_skopeo_copies_the_image_by_its_name(archive: Path, tmp_path: Path) -> None:
    image, attestation = entries(archive)
    skopeo("copy", f"docker-archive:{archive}:{NAME}", f"dir:{tmp_path}/docker")
    skopeo("copy", "--preserve-digests", f"oci-archive:{archive}:1", f"oci:{tmp_path}/copy")
    assert (tmp_path / "copy" / blob_path(image["digest"])).is_file()
    assert not (tmp_path / "copy" / blob_path(attestation["digest"])).exists()


def test_a_platform_is_loaded_with_its_attestation_and_without_the_others(service: Service) -> None:
    load(service, f"?platform={PLATFORM}")
    with urllib.request.urlopen(f"{images(service)}/{NAME}/attestations?platform={PLATFORM}", timeout=30) as answer:
        assert [each["PredicateType"] for each in json.load(answer)] == [PREDICATE_PROVENANCE, PREDICATE_SBOM]
    with urllib.request.urlopen(f"{images(service)}/{NAME}/json?manifests=1", timeout=30) as answer:
        manifests = json.load(answer)["Manifests"]
    present = [each["Kind"] for each in manifests if each["Available"]]
    assert (len(manifests), present) == (6, ["image", "attestation"])
