"""Pulls of what skopeo pushed to Debian's docker-registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import NotFound
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.metadata.records import Kind, ManifestDocument
from stowage.services.oci import mediatypes
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from tests.builders import Json, Layout, digest_of, make_layer
from tests.conformance.conftest import Service, skopeo

LAYERS = [make_layer("one", 2 << 20), make_layer("two", 64)]


@pytest.fixture
def service(emptied: Service) -> Service:
    return emptied


def push(registry: str, folder: Path, layout: Layout, descriptor: Json, repository: str, *options: str) -> str:
    """Copy one manifest of the layout to the registry as `repository:1`; returns the canonical name."""
    layout.tag(descriptor, "docker.io/library/source:1")
    archive = folder / "source.tar"
    archive.write_bytes(layout.to_tar())
    skopeo("copy", "--quiet", "--dest-tls-verify=false", *options, f"oci-archive:{archive}:1", f"docker://{registry}/{repository}:1")
    return f"{registry}/{repository}"


def pull(engine: Engine, name: str, tag: str = "1", platform: str | None = None) -> list[str]:
    lines = pull_image(engine, pull_reference(name, tag), platform=Platform.parse(platform) if platform else None)
    return [line.status for line in lines if line.status not in ("", "Downloading")]


def facts_of(engine: Engine, name: str) -> ManifestDocument:
    with engine.metadata.read() as tx:
        record = tx.images.get(name)
        assert record is not None
        facts = tx.graph.manifest(record.target.digest)
    assert facts is not None
    return facts


def digest_at(registry_name: str) -> Digest:
    """The digest of the raw manifest, as skopeo reads it."""
    return Digest.parse(digest_of(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry_name}").encode()))


@pytest.mark.parametrize(
    ("repository", "compression", "options", "layer_type"),
    [
        pytest.param("team/gzip", "none", (), mediatypes.OCI_LAYER_GZIP, id="OCI, gzip"),
        pytest.param("team/zstd", "zstd", (), mediatypes.OCI_LAYER_ZSTD, id="OCI, zstd"),
        pytest.param("team/docker", "none", ("--format=v2s2",), mediatypes.DOCKER_LAYER_GZIP, id="Docker, gzip"),
    ],
)
def test_an_image_is_pulled_with_its_digest(
    engine: Engine, registry: str, tmp_path: Path, repository: str, compression: str, options: tuple[str, ...], layer_type: str
) -> None:
    layout = Layout()
    name = push(registry, tmp_path, layout, layout.image(LAYERS, compression=compression), repository, *options)
    assert pull(engine, name) == [
        f"Pulling from {repository}",
        *["Pulling fs layer"] * 2,
        *["Download complete"] * 2,
        *["Pull complete"] * 2,
        f"Digest: {digest_at(name + ':1')}",
        f"Status: Downloaded newer image for {name}:1",
    ]
    facts = facts_of(engine, f"{name}:1")
    assert (facts.digest, facts.platform) == (digest_at(name + ":1"), Platform(os="linux", architecture="amd64"))
    assert [edge.child.media_type for edge in facts.edges[1:]] == [layer_type] * 2
    layers = [edge.child.digest for edge in facts.edges[1:]]
    with engine.metadata.read() as tx:
        found = tx.graph.layers(layers)
    assert [found[layer].diff_id for layer in layers] == [Digest.of(raw) for raw in LAYERS]


def test_of_an_index_one_platform_and_its_attestation_are_pulled(engine: Engine, registry: str, tmp_path: Path) -> None:
    layout = Layout()
    index = layout.multi_platform(("linux/amd64", "linux/arm64/v8"))
    name = push(registry, tmp_path, layout, index, "team/multi", "--all")
    pull(engine, name)
    facts = facts_of(engine, f"{name}:1")
    amd64, arm64, amd64_attestation, arm64_attestation = [edge.child.digest for edge in facts.edges]
    assert (facts.kind, facts.digest) == (Kind.INDEX, Digest.parse(index["digest"]))
    with engine.metadata.read() as tx:
        assert tx.graph.present([amd64, arm64, amd64_attestation, arm64_attestation]) == {amd64, amd64_attestation}
        statements = json.loads(engine.content.read(amd64_attestation))["layers"]
        assert len(tx.graph.present(Digest.parse(statement["digest"]) for statement in statements)) == len(statements) == 2
    pull(engine, name, platform="linux/arm64")
    with engine.metadata.read() as tx:
        assert len(tx.graph.present([amd64, arm64, amd64_attestation, arm64_attestation])) == 4


def test_a_repeated_pull_by_tag_and_by_digest_finds_all_there(engine: Engine, registry: str, tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image(LAYERS)
    name = push(registry, tmp_path, layout, image, "team/repeated")
    pull(engine, name)
    digest = digest_at(name + ":1")
    assert pull(engine, name) == ["Pulling from team/repeated", f"Digest: {digest}", f"Status: Image is up to date for {name}:1"]
    assert pull(engine, name, str(digest))[-1] == f"Status: Image is up to date for {name}@{digest}"


@pytest.mark.parametrize(
    ("repository", "tag", "words"),
    [
        pytest.param("team/one", "nosuch", 'failed to resolve reference "{0}/team/one:nosuch": {0}/team/one:nosuch: not found', id="tag"),
        pytest.param("no/such", "1", 'failed to resolve reference "{0}/no/such:1": {0}/no/such:1: not found', id="repository"),
        pytest.param(
            "no/such", "", "repository {0}/no/such not found: name unknown: repository name not known to registry", id="all tags of none"
        ),
    ],
)
def test_what_the_registry_does_not_have_is_not_found(
    engine: Engine, registry: str, tmp_path: Path, repository: str, tag: str, words: str
) -> None:
    layout = Layout()
    push(registry, tmp_path, layout, layout.image(LAYERS), "team/one")
    with pytest.raises(NotFound) as raised:
        pull(engine, f"{registry}/{repository}", tag)
    assert str(raised.value) == words.format(registry)


def test_the_docker_cli_pulls_all_tags(service: Service, registry: str, tmp_path: Path) -> None:
    layout = Layout()
    name = push(registry, tmp_path, layout, layout.image(LAYERS), "team/cli")
    skopeo("copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{name}:1", f"docker://{name}:2")
    shown = service.docker("pull", "--all-tags", name).stdout.decode()
    assert f"Digest: {digest_at(name + ':1')}" in shown
    listed = service.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode().split()
    assert sorted(listed) == [f"{name}:1", f"{name}:2"]


def test_the_docker_cli_tells_what_cannot_be_pulled(service: Service, registry: str) -> None:
    done = service.docker("pull", f"{registry}/no/such:1", check=False)
    assert done.returncode == 1
    assert f'failed to resolve reference "{registry}/no/such:1": {registry}/no/such:1: not found' in done.stderr.decode()
