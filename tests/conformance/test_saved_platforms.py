"""An archive of one platform, which has that platform's attestation beside it, in the hands of others."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.builders import Layout, blob_path
from tests.conformance.conftest import Service, needs, skopeo

NAME = "team/app:1"
PLATFORM = {"os": "linux", "architecture": "amd64"}


@pytest.fixture
def archive(service: Service, tmp_path: Path) -> Path:
    """The amd64 image of an index with attestations, as the service saves it."""
    layout = Layout()
    layout.tag(layout.multi_platform(), f"docker.io/{NAME}")
    base = f"http://127.0.0.1:{service.port}/v1.51/images"
    load = urllib.request.Request(f"{base}/load", layout.to_tar(), {"Content-Type": "application/x-tar"})
    urllib.request.urlopen(load, timeout=30).close()
    saved = tmp_path / "saved.tar"
    urllib.request.urlretrieve(f"{base}/{NAME}/get?platform={urllib.parse.quote(json.dumps(PLATFORM))}", saved)
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
