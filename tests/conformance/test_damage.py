"""Damaged files under a running service, as docs/durability.md describes them: found, refused, named, and mended by a load or a pull."""

from __future__ import annotations

import http.client
import json
import random
import re
import urllib.request
from dataclasses import dataclass
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.builders import Layout, make_tar, on_platform
from tests.conformance.conftest import Service
from tests.damage import Spoil, flip, lose, shorten

LAYER_BYTES = 2_000_000
PARTS = ("layer", "config", "manifest")


@dataclass
class Images:
    """Three images, each to be damaged in another part: their archive, and the digest of that part by the image's name."""

    archive: bytes
    damaged: dict[str, str]

    def spoil(self, service: Service, spoil: Spoil) -> None:
        for digest in self.damaged.values():
            spoil(file_of(service, digest))


def file_of(service: Service, digest: str) -> Path:
    return service.root / "blobs" / digest.replace(":", "/")


@pytest.fixture
def images(service: Service, registry: str, request: pytest.FixtureRequest) -> Images:
    """Loaded, and pushed to the registry."""
    layout = Layout()
    tag = re.sub(r"\W", "_", request.node.name)
    damaged = {}
    for seed, part in enumerate(PARTS):
        name = f"{registry}/damage/{part}:{tag}"
        manifest = layout.image([make_tar({"data": random.Random(seed).randbytes(LAYER_BYTES)})], config={"Labels": {"of": name}})
        document = json.loads(layout.blobs[manifest["digest"]])
        digests = {"layer": document["layers"][0]["digest"], "config": document["config"]["digest"], "manifest": manifest["digest"]}
        damaged[name] = digests[part]
        layout.tag(manifest, name)
    archive = layout.to_tar()
    service.docker("load", stdin=archive)
    for name in damaged:
        service.docker("push", "-q", name)
    return Images(archive, damaged)


def load(service: Service, images: Images) -> None:
    assert service.docker("load", stdin=images.archive).stdout.decode() == "".join(f"Loaded image: {name}\n" for name in images.damaged)


def pull(service: Service, images: Images) -> None:
    for name in images.damaged:
        assert f"Status: Image is up to date for {name}" in service.docker("pull", name).stdout.decode()


def assert_refused(service: Service, images: Images, folder: Path) -> None:
    for name, digest in images.damaged.items():
        for command in (["save", "-o", f"{folder}/image.tar"], ["push"]):
            refused = service.docker(*command, name, check=False)
            assert refused.returncode != 0
            assert f"blob {digest} ".encode() in refused.stderr
            assert b"; load or pull the image again to repair it, or delete it" in refused.stderr
    assert not (folder / "image.tar").exists()


@pytest.mark.parametrize("spoil", [lose, shorten, flip])
def test_damage_is_found_refused_and_mended(service: Service, images: Images, tmp_path: Path, spoil: Spoil) -> None:
    whole = service.docker("save", *images.damaged).stdout
    for mend in (load, pull):
        images.spoil(service, spoil)
        found = service.run("verify")
        assert found.returncode == 1
        for name, digest in images.damaged.items():
            assert f"damage: blob {digest} " in found.stdout
            assert f"affected: image {name}: load or pull it again, or delete it\n" in found.stdout
        if mend is load:
            assert_refused(service, images, tmp_path)
        mend(service, images)
        assert service.docker("save", *images.damaged).stdout == whole
    assert service.run("verify").stdout == "every image is whole\n"


def test_a_flipped_bit_is_never_given_away_as_good(service: Service, images: Images, registry: str, tmp_path: Path) -> None:
    """Before anybody has looked for it."""
    name, digest = next(iter(images.damaged.items()))
    flip(file_of(service, digest))
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.request("GET", f"/images/{name}/get")
    with pytest.raises(IncompleteRead):
        connection.getresponse().read()
    connection.close()
    saved = service.docker("save", "-o", str(tmp_path / "image.tar"), name, check=False)
    assert (saved.returncode, (tmp_path / "image.tar").exists()) == (1, False)
    service.docker("load", stdin=images.archive)
    assert service.run("verify").stdout == "every image is whole\n"


def test_a_flipped_bit_does_not_reach_a_registry(service: Service, images: Images, registry: str) -> None:
    name, digest = next(iter(images.damaged.items()))
    other = f"{registry}/damage/elsewhere:1"
    service.docker("rmi", *images.damaged)  # and with them goes what is known of where their blobs could be mounted from
    service.docker("load", stdin=images.archive)
    service.docker("tag", name, other)
    flip(file_of(service, digest))
    pushed = service.docker("push", other, check=False)
    assert pushed.returncode != 0
    assert f"blob {digest} holds other bytes".encode() in pushed.stderr
    for path in (f"blobs/{digest}", "manifests/1"):
        with pytest.raises(HTTPError, match="404"):
            urllib.request.urlopen(f"http://{registry}/v2/damage/elsewhere/{path}")
    assert f"affected: image {other}" in service.run("verify").stdout


@pytest.mark.parametrize("spoil", [lose, shorten, flip])
def test_a_pull_of_one_platform_repairs_the_other(service: Service, registry: str, tmp_path: Path, spoil: Spoil) -> None:
    layout, name = Layout(), f"{registry}/damage/platforms:{spoil.__name__}"
    arm64 = on_platform(layout.image([make_tar({"data": random.Random(1).randbytes(LAYER_BYTES)})], platform="linux/arm64"), "linux/arm64")
    index = layout.index([on_platform(layout.image([make_tar({"data": b"small"})]), "linux/amd64"), arm64])
    layout.tag(index, name)
    service.docker("load", stdin=layout.to_tar())
    service.docker("push", "-q", name)
    spoil(file_of(service, json.loads(layout.blobs[arm64["digest"]])["layers"][0]["digest"]))
    assert service.run("verify").returncode == 1
    assert service.docker("save", "-o", str(tmp_path / "saved.tar"), name, check=False).returncode != 0
    service.docker("pull", "--platform", "linux/amd64", name)
    service.docker("save", "-o", str(tmp_path / "saved.tar"), name)
    assert service.run("verify").returncode == 0
