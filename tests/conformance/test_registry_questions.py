"""Questions about registries that store nothing here: `docker search`, `docker manifest inspect`, docker-py's registry data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.builders import Layout, make_layer
from tests.conformance.conftest import Service, needs, skopeo
from tests.fake_registry.index import FakeIndex
from tests.ports import free_port

RESULTS = [
    {"name": "team/app", "description": "The app", "star_count": 7, "is_official": False},
    {"name": "app", "description": "The official app", "star_count": 30, "is_official": True},
]


@pytest.fixture(scope="module", autouse=True)
def docker_cli() -> None:
    needs("docker")


@pytest.fixture
def service(emptied: Service) -> Service:
    return emptied


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    with FakeIndex(results=RESULTS).serve() as running:
        yield running


@pytest.fixture(scope="module")
def published(registry: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An OCI index, an OCI manifest and a Docker manifest at the registry: the name of each and its digest."""
    folder = tmp_path_factory.mktemp("published")
    layout = Layout()
    layout.tag(layout.multi_platform(("linux/amd64", "linux/arm64/v8")), "docker.io/library/source:index")
    layout.tag(layout.image([make_layer()], platform="linux/arm/v7"), "docker.io/library/source:manifest")
    archive = folder / "source.tar"
    archive.write_bytes(layout.to_tar())
    copies = {"index": ("index", "--all"), "oci": ("manifest",), "docker": ("manifest", "--format=v2s2")}
    for name, (source, *options) in copies.items():
        target = f"docker://{registry}/team/questions:{name}"
        skopeo("copy", "--quiet", "--dest-tls-verify=false", *options, f"oci-archive:{archive}:{source}", target)
    return {f"{registry}/team/questions:{name}": digest_at(f"{registry}/team/questions:{name}") for name in copies}


def digest_at(name: str) -> str:
    return str(json.loads(skopeo("inspect", "--no-tags", "--tls-verify=false", f"docker://{name}"))["Digest"])


def digests(manifest: dict[str, Any]) -> list[str]:
    """Of everything that an index or a manifest lists."""
    parts = manifest.get("manifests") or [manifest["config"], *manifest["layers"]]
    return [part["digest"] for part in parts]


def search(service: Service, *arguments: str) -> list[str]:
    return (
        service.docker("search", "--format", "{{.Name}} {{.StarCount}} {{.IsOfficial}} {{.Description}}", *arguments)
        .stdout.decode()
        .splitlines()
    )


def test_docker_search_asks_the_registry_of_the_term(service: Service, index: FakeIndex) -> None:
    assert search(service, f"{index.host}/app") == ["team/app 7  The app", "app 30 [OK] The official app"]
    assert search(service, "--limit", "1", f"{index.host}/app") == ["team/app 7  The app"]
    assert search(service, "--filter", "is-official=true", f"{index.host}/app") == ["app 30 [OK] The official app"]
    assert search(service, "--filter", "stars=31", f"{index.host}/app") == []


def test_docker_search_asks_the_index_of_the_settings(tmp_path: Path, index: FakeIndex) -> None:
    service = Service(tmp_path / "stowage", free_port(), environment={"STOWAGE_SEARCH_INDEX": index.base})
    service.start()
    try:
        assert search(service, "library/app") == ["team/app 7  The app", "app 30 [OK] The official app"]
    finally:
        service.stop()
    assert [request.query["q"] for request in index.requests] == [["app"]]


def test_docker_search_at_a_registry_without_an_index_says_so(service: Service, registry: str) -> None:
    refused = service.docker("search", f"{registry}/app", check=False)
    assert (refused.returncode, refused.stderr.decode().strip()) == (1, "Error response from daemon: unexpected status code 404")


def test_docker_search_refuses_a_limit_out_of_range(service: Service, index: FakeIndex) -> None:
    refused = service.docker("search", "--limit", "101", f"{index.host}/app", check=False)
    assert refused.stderr.decode().strip() == "Error response from daemon: limit 101 is outside the range of [1, 100]"
    assert index.requests == []


def test_docker_manifest_inspect_works_beside_the_service(service: Service, published: dict[str, str]) -> None:
    for name in published:
        shown = json.loads(service.docker("manifest", "inspect", "--insecure", name).stdout)
        raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
        assert digests(shown) == digests(raw)


def test_docker_py_reads_registry_data(service: Service, published: dict[str, str]) -> None:
    client = docker.DockerClient(base_url=f"unix://{service.socket}")
    try:
        found = {name: client.images.get_registry_data(name) for name in published}
        by_digest = {name: client.images.get_registry_data(f"{name.rpartition(':')[0]}@{digest}").id for name, digest in published.items()}
    finally:
        client.close()
    assert {name: data.id for name, data in found.items()} == published == by_digest
    index, oci, schema2 = found.values()
    assert [index.has_platform(platform) for platform in ("linux/amd64", "linux/arm64/v8", "linux/s390x")] == [True, True, False]
    assert [data.attrs["Platforms"] for data in (oci, schema2)] == [[{"architecture": "arm", "os": "linux", "variant": "v7"}]] * 2


def test_docker_py_is_told_of_what_is_not_there(service: Service, registry: str) -> None:
    client = docker.DockerClient(base_url=f"unix://{service.socket}")
    try:
        with pytest.raises(docker.errors.NotFound) as caught:
            client.images.get_registry_data(f"{registry}/team/nothing:1")
    finally:
        client.close()
    assert caught.value.explanation == "manifest unknown: manifest unknown"
