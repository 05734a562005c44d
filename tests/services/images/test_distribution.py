"""What a name means at a registry in this process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import (
    EngineError,
    Forbidden,
    InvalidContent,
    InvalidParameter,
    InvalidReference,
    NotFound,
    RegistryFailure,
    ResourceExhausted,
    Unauthorized,
)
from stowage.services.images.distribution import inspect_distribution
from stowage.services.oci import mediatypes
from stowage.services.oci.platform import Platform
from stowage.services.registry.credentials import Credentials
from tests.builders import Json, Layout, make_layer
from tests.engines import memory_budget
from tests.fake_registry import TOKEN, FakeRegistry, Fault

AMD64 = Platform("linux", "amd64")
UNKNOWN = Platform("unknown", "unknown")


@pytest.fixture
def layout() -> Layout:
    return Layout()


def publish(registry: FakeRegistry, layout: Layout, descriptor: Json, tag: str = "1") -> str:
    return registry.publish(layout, descriptor, tag=tag)


def refused(engine: Engine, name: str, **options: object) -> EngineError:
    with pytest.raises(EngineError) as caught:
        inspect_distribution(engine, name, **options)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("docker", [True, False], ids=["docker", "oci"])
def test_a_manifest_is_for_the_platform_of_its_config(engine: Engine, registry: FakeRegistry, layout: Layout, docker: bool) -> None:
    image = layout.image([make_layer()], docker=docker, platform="linux/arm/v7")
    found = inspect_distribution(engine, publish(registry, layout, image) + ":1")
    assert (found.descriptor.to_json(), found.platforms) == (image, (Platform("linux", "arm", "v7"),))


def test_an_index_is_for_the_platforms_of_its_entries(engine: Engine, registry: FakeRegistry, layout: Layout) -> None:
    entries = [layout.image([make_layer()], platform=platform) for platform in ("linux/amd64", "windows/amd64")]
    windows = {"os": "windows", "architecture": "amd64", "os.version": "10.0", "os.features": ["win32k"]}
    index = layout.index([
        {**entries[0], "platform": {"os": "linux", "architecture": "amd64"}},
        {**entries[1], "platform": windows},
        {**entries[0], "platform": {"os": "unknown", "architecture": "unknown"}},
        entries[0],
    ])  # fmt: skip
    found = inspect_distribution(engine, publish(registry, layout, index) + ":1")
    assert (found.descriptor.to_json(), found.platforms) == (index, (AMD64, Platform.from_json(windows), UNKNOWN, Platform()))
    assert registry.asked() == ["GET 1"]


def test_the_digest_counts_before_the_tag(engine: Engine, registry: FakeRegistry, layout: Layout) -> None:
    first, second = (layout.image([make_layer(label)]) for label in ("first", "second"))
    name = publish(registry, layout, first)
    assert inspect_distribution(engine, f"{name}:1@{second['digest']}").descriptor.to_json() == second


def test_a_name_alone_means_latest(engine: Engine, registry: FakeRegistry, layout: Layout) -> None:
    image = layout.image([make_layer()])
    assert inspect_distribution(engine, publish(registry, layout, image, "latest")).descriptor.to_json() == image


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="says nothing"),
        pytest.param({"variant": "v8"}, id="only a variant"),
        pytest.param({"os": 5}, id="of a wrong type"),
        pytest.param([], id="no object"),
    ],
)
def test_a_config_without_a_platform_leaves_it_open(engine: Engine, registry: FakeRegistry, layout: Layout, config: object) -> None:
    image = layout.manifest(layout.add_json(config, mediatypes.DOCKER_CONFIG), [], media_type=mediatypes.DOCKER_MANIFEST)
    found = inspect_distribution(engine, publish(registry, layout, image) + ":1")
    assert (found.descriptor.to_json(), found.platforms) == (image, ())


@pytest.mark.parametrize(
    "fault", [Fault.ABSENT, Fault.WRONG_BYTES, Fault.SHORT_BODY, Fault.LONG_BODY, Fault.DROPPED, Fault.BROKEN, Fault.OVERSIZED]
)
def test_a_config_that_cannot_be_read_leaves_the_platform_open(
    engine: Engine, registry: FakeRegistry, layout: Layout, fault: Fault
) -> None:
    config = layout.add_json({"os": "linux", "architecture": "amd64"}, mediatypes.OCI_CONFIG)
    image = layout.manifest(config, [])
    name = publish(registry, layout, image)
    registry.faults = {config["digest"]: fault}
    assert inspect_distribution(engine, f"{name}:1").platforms == ()


def test_a_config_larger_than_any_is_not_fetched(engine: Engine, registry: FakeRegistry, layout: Layout) -> None:
    config = layout.add_json({"os": "linux", "architecture": "amd64"}, mediatypes.OCI_CONFIG)
    image = layout.manifest({**config, "size": 5 << 20}, [])
    assert inspect_distribution(engine, publish(registry, layout, image) + ":1").platforms == ()
    assert registry.asked() == ["GET 1"]


def test_a_chart_has_no_platform(engine: Engine, registry: FakeRegistry, layout: Layout) -> None:
    assert inspect_distribution(engine, publish(registry, layout, layout.chart()) + ":1").platforms == ()


def test_nothing_is_stored(engine: Engine, registry: FakeRegistry, layout: Layout) -> None:
    inspect_distribution(engine, publish(registry, layout, layout.image([make_layer()])) + ":1")
    assert (list(engine.content.blobs()), list(engine.content.partials())) == ([], [])


@pytest.mark.parametrize("fault", [Fault.NO_DIGEST, Fault.UNSIZED, Fault.NO_HEAD, Fault.GENERAL_TYPE])
def test_headers_that_say_little_are_enough(engine: Engine, registry: FakeRegistry, layout: Layout, fault: Fault) -> None:
    image = layout.image([make_layer()])
    name = publish(registry, layout, image)
    registry.faults = {"1": fault}
    assert inspect_distribution(engine, f"{name}:1").descriptor.to_json() == image


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (Fault.ABSENT, NotFound, "manifest unknown: not known to registry"),
        (Fault.UNAUTHORIZED, Unauthorized, "unauthorized"),
        (Fault.FORBIDDEN, Forbidden, "denied"),
        (Fault.TOO_MANY_REQUESTS, ResourceExhausted, "toomanyrequests: You have reached your pull rate limit."),
        (Fault.BROKEN, RegistryFailure, "received unexpected HTTP status: 500 Internal Server Error"),
        (Fault.HTML, InvalidContent, "unsupported media type text/html"),
        (Fault.LYING_DIGEST, InvalidContent, "unexpected digest "),
        (Fault.WRONG_BYTES, InvalidContent, "unexpected digest "),
        (Fault.SHORT_BODY, InvalidContent, "unexpected digest "),
        (Fault.MALFORMED_DIGEST, InvalidContent, '"sha256:../x" in header not a valid digest: invalid checksum digest length'),
        (Fault.SCHEMA1, InvalidContent, "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed."),
        (Fault.OVERSIZED, NotFound, 'failed to resolve reference "'),
        (Fault.ENDLESS_REDIRECT, RegistryFailure, 'Head "http://'),
    ],
)
def test_a_registry_that_refuses_or_lies_is_told(
    engine: Engine, registry: FakeRegistry, layout: Layout, fault: Fault, kind: type[EngineError], message: str
) -> None:
    name = publish(registry, layout, layout.image([make_layer()]))
    registry.faults = {"1": fault}
    error = refused(engine, f"{name}:1")
    assert (type(error), str(error)[: len(message)]) == (kind, message)


def test_other_bytes_than_those_of_the_digest_are_refused(engine: Engine, registry: FakeRegistry, layout: Layout) -> None:
    image = layout.image([make_layer()])
    name = publish(registry, layout, image)
    registry.faults = {image["digest"]: Fault.WRONG_BYTES}
    assert str(refused(engine, f"{name}@{image['digest']}")).endswith(f"expected {image['digest']}")


def test_a_document_that_is_index_and_manifest_at_once_is_refused(engine: Engine, registry: FakeRegistry, layout: Layout) -> None:
    name = publish(registry, layout, layout.index([], layers=[]))
    assert str(refused(engine, f"{name}:1")) == f"media-type: expected index but found manifest ({mediatypes.OCI_INDEX})"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("UPPER", InvalidReference, "invalid reference format: repository name (library/UPPER) must be lowercase"),
        ("x y", InvalidReference, "invalid reference format"),
        ("", InvalidReference, "invalid reference format"),
        ("scratch", InvalidParameter, "'scratch' is a reserved name"),
        ("docker.io/library/scratch:1", InvalidParameter, "'scratch' is a reserved name"),
        ("a" * 64, RegistryFailure, "no manifest found for full image ID"),
        ("sha256:" + "a" * 64, RegistryFailure, "no manifest found for full image ID"),
    ],
)
def test_a_name_that_cannot_be_pulled_is_refused(engine: Engine, name: str, kind: type[EngineError], message: str) -> None:
    error = refused(engine, name)
    assert (type(error), str(error)) == (kind, message)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_credentials_open_a_private_repository(engine: Engine, layout: Layout, auth: str) -> None:
    with FakeRegistry(auth=auth, user="alice:secret").serve() as registry:
        image = layout.image([make_layer()])
        name = publish(registry, layout, image)
        found = inspect_distribution(engine, f"{name}:1", credentials=Credentials(username="alice", password="secret"))
    assert (found.descriptor.to_json(), found.platforms) == (image, (AMD64,))


@pytest.mark.parametrize("credentials", [None, Credentials(username="alice", password="wrong")], ids=["nobody", "wrong password"])
def test_a_token_that_opens_nothing_is_denied(engine: Engine, layout: Layout, credentials: Credentials | None) -> None:
    with FakeRegistry(auth="bearer", user="alice:secret").serve() as registry:
        name = publish(registry, layout, layout.image([make_layer()]))
        error = refused(engine, f"{name}:1", credentials=credentials)
    assert (type(error), str(error)) == (Forbidden, "errors:\ndenied: requested access to the resource is denied\nunauthorized: \n")
    assert TOKEN not in str(error)


def test_a_wrong_password_is_unauthorized(engine: Engine, layout: Layout) -> None:
    with FakeRegistry(auth="basic", user="alice:secret").serve() as registry:
        name = publish(registry, layout, layout.image([make_layer()]))
        error = refused(engine, f"{name}:1", credentials=Credentials(username="alice", password="wrong"))
        assert len(registry.requests) == 2
    assert (type(error), str(error)) == (Unauthorized, "unauthorized: ")


@pytest.mark.parametrize("document", ["manifest", "config"])
def test_documents_are_parsed_only_if_there_is_memory_for_their_text(
    engine: Engine, registry: FakeRegistry, layout: Layout, document: str
) -> None:
    wide = {"wide": "\N{GRINNING FACE}" + "a" * (1 << 20)}
    config = {"os": "linux", "architecture": "amd64", "config": {"Labels": wide if document == "config" else {}}}
    annotations = wide if document == "manifest" else {}
    described = layout.add_json(config, mediatypes.OCI_CONFIG)
    name = publish(registry, layout, layout.manifest(described, [], annotations=annotations))
    assert inspect_distribution(replace(engine, memory=memory_budget(9 << 20)), f"{name}:1").platforms == (Platform("linux", "amd64"),)
    memory = memory_budget(6 << 20)
    with pytest.raises(Forbidden, match="bytes of memory at once"):
        inspect_distribution(replace(engine, memory=memory), f"{name}:1")
    assert memory.free == 6 << 20
