"""Pulls that fail, or end before they are through."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import EngineError, InvalidContent, NotFound, RegistryFailure
from stowage.services.images.pull import pull_image
from stowage.services.oci import mediatypes
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from tests.builders import Json, Layout, compress, layers_of, make_config, make_layer, make_tar, on_platform, short, simple_layout
from tests.fake_registry import FakeRegistry, Fault
from tests.services.images.pulls import first_line, is_empty, present, pull, target_of


def publish(registry: FakeRegistry, *layers: bytes, compression: str = "none") -> tuple[str, Layout, list[Json]]:
    """An image of these layers in a registry: its name, its blobs, and the descriptors of its layers."""
    layout = Layout()
    image = layout.image(layers, compression=compression)
    return registry.publish(layout, image), layout, layers_of(layout, image)


def with_wrong_diff_id() -> tuple[Layout, Json]:
    layout = Layout()
    layer = layout.add(compress(make_layer("a"), "gzip"), mediatypes.OCI_LAYER_GZIP)
    config = layout.add_json(make_config([str(Digest.of(b"other"))]), mediatypes.OCI_CONFIG)
    return layout, layout.manifest(config, [layer])


def with_garbage_layer() -> tuple[Layout, Json]:
    layout = Layout()
    layer = layout.add(b"not gzip", mediatypes.OCI_LAYER_GZIP)
    config = layout.add_json(make_config([str(Digest.of(b"not gzip"))]), mediatypes.OCI_CONFIG)
    return layout, layout.manifest(config, [layer])


def with_two_readings() -> tuple[Layout, Json]:
    layout = simple_layout()
    config = layout.add_json({}, mediatypes.OCI_CONFIG)
    return layout, layout.manifest(config, [], manifests=[])


def with_bad_child_digest() -> tuple[Layout, Json]:
    layout = Layout()
    return layout, layout.index([on_platform({"mediaType": mediatypes.OCI_MANIFEST, "digest": "sha256:../../x", "size": 1}, "linux/amd64")])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(with_wrong_diff_id, "wrong diff id calculated on extraction", id="wrong diff_id"),
        pytest.param(with_garbage_layer, "is not a readable", id="a layer that is no gzip"),
        pytest.param(with_two_readings, "expected manifest but found index", id="both manifest and index"),
        pytest.param(with_bad_child_digest, "invalid checksum digest", id="a path for a digest"),
    ],
)
def test_content_that_lies_leaves_no_trace(
    engine: Engine, registry: FakeRegistry, make: Callable[[], tuple[Layout, Json]], words: str
) -> None:
    layout, descriptor = make()
    name = registry.publish(layout, descriptor)
    with pytest.raises(EngineError, match=words):
        pull(engine, name)
    assert is_empty(engine)


def test_a_layer_of_the_store_that_is_called_a_manifest_is_not_read_as_one(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    image = layout.image([make_layer("large", 5 << 20)], compression="none")
    (layer,) = layers_of(layout, image)
    pull(engine, registry.publish(layout, image))
    lying = Layout()
    listed = on_platform({**layer, "mediaType": mediatypes.OCI_MANIFEST}, "linux/amd64")
    with pytest.raises(InvalidContent, match=f"^document {layer['digest']} of [0-9]+ bytes is larger than 4194304 bytes$"):
        pull(engine, registry.publish(lying, lying.index([listed]), tag="2"), "2")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(Fault.WRONG_BYTES, InvalidContent, id="other bytes"),
        pytest.param(Fault.SHORT_BODY, InvalidContent, id="too short"),
        pytest.param(Fault.LONG_BODY, InvalidContent, id="too long"),
        pytest.param(Fault.ABSENT, NotFound, id="404"),
    ],
)
def test_a_blob_that_is_not_what_it_should_be_leaves_no_trace(
    engine: Engine, registry: FakeRegistry, fault: Fault, kind: type[EngineError]
) -> None:
    name, _, layers = publish(registry, make_layer("one"), make_layer("two"), compression="gzip")
    registry.faults[layers[1]["digest"]] = fault
    with pytest.raises(kind):
        pull(engine, name)
    assert is_empty(engine)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(Fault.LYING_DIGEST, NotFound, id="digest of something that is not there"),
        pytest.param(Fault.LYING_LENGTH, InvalidContent, id="length"),
    ],
)
def test_headers_that_lie_are_found_out_before_the_first_line(
    engine: Engine, registry: FakeRegistry, fault: Fault, kind: type[EngineError]
) -> None:
    layout = simple_layout()
    name = registry.publish(layout, layout.manifests[0])
    registry.faults["1"] = fault
    with pytest.raises(kind):
        first_line(pull_image(engine, Reference.parse(f"{name}:1")))
    assert is_empty(engine)


def test_a_failed_layer_ends_the_others(engine: Engine, registry: FakeRegistry) -> None:
    name, _, layers = publish(registry, make_layer("stalled", 2 << 20), make_layer("broken"))
    stalled, broken = (layer["digest"] for layer in layers)
    registry.faults = {stalled: Fault.STALLED, broken: Fault.BROKEN}
    with pytest.raises(RegistryFailure, match="500 Internal Server Error"):
        pull(engine, name)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pull")]


def test_closing_the_stream_ends_the_transfers_and_keeps_what_came(engine: Engine, registry: FakeRegistry) -> None:
    name, layout, layers = publish(registry, make_layer("quick"), make_layer("stalled", 2 << 20))
    quick, stalled = (layer["digest"] for layer in layers)
    registry.faults[stalled] = Fault.STALLED
    lines = pull_image(engine, Reference.parse(f"{name}:1"))
    assert any(line.status == "Download complete" for line in lines)
    assert registry.stalled.wait(10)
    lines.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pull")]
    assert quick in present(engine, layout)
    assert stalled not in present(engine, layout)
    assert target_of(engine, f"{name}:1") is None
    registry.faults.clear()
    registry.requests.clear()
    pull(engine, name)
    assert f"GET {quick}" not in registry.asked()
    assert present(engine, layout) == layout.blobs.keys()


def test_a_stalled_transfer_gives_ticks(engine: Engine, registry: FakeRegistry) -> None:
    name, _, (layer,) = publish(registry, make_layer("stalled", 4 << 20))
    registry.faults[layer["digest"]] = Fault.STALLED
    lines = pull_image(engine, Reference.parse(f"{name}:1"))
    advances = [
        next(line for line in lines if line.status == "Downloading"),
        next(line for line in lines if line.status in ("", "Downloading")),
    ]
    lines.close()
    assert advances[0].id == short(layer)
    assert advances[0].detail is not None
    assert advances[0].detail.total == layer["size"]
    assert 0 < advances[0].detail.current < layer["size"]


def test_a_registry_that_wants_a_login_says_so(engine: Engine) -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss").serve() as registry:
        layout = simple_layout()
        name = registry.publish(layout, layout.manifests[0])
        with pytest.raises(NotFound) as raised:
            pull(engine, name)
    assert str(raised.value) == f"pull access denied for {name}, repository does not exist or may require 'docker login'"
    assert is_empty(engine)


def test_a_tar_that_is_large_uncompressed_is_a_bomb_when_both_limits_are_passed(engine: Engine, registry: FakeRegistry) -> None:
    tight = replace(engine, limits=replace(engine.limits, decompression_ratio=10, decompression_bytes=1 << 20))
    layout = Layout()
    name = registry.publish(layout, layout.image([make_tar({"zeros": bytes(8 << 20)})]))
    with pytest.raises(InvalidContent):
        pull(tight, name)
    assert is_empty(engine)


def test_an_unknown_name_leaves_the_engine_as_it_was(engine: Engine, registry: FakeRegistry) -> None:
    with pytest.raises(NotFound):
        pull(engine, f"{registry.host}/no/such")
    assert is_empty(engine)
