"""Reading a stored graph strictly, recording it, and giving names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.gc.leases import Lease, hold
from stowage.services.images.delete import delete_image
from stowage.services.intake.ingest import store_blob
from stowage.services.metadata.records import Kind, Role
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.oci.reference import dangling_name
from stowage.services.store.graph import ReadManifest, read_graph
from stowage.services.store.publish import assign_name, read_configs, record_graph
from tests.builders import (
    Json,
    Layout,
    compress,
    digest_of,
    make_config,
    make_layer,
    on_platform,
    partial_layout,
    put_image,
    simple_layout,
)
from tests.engines import ON_EVERY_DATABASE
from tests.listings import all_records

pytestmark = ON_EVERY_DATABASE

AMD64, ARM64 = Platform(os="linux", architecture="amd64"), Platform(os="linux", architecture="arm64", variant="v8")


def read(engine: Engine, layout: Layout, descriptor: Json, **options: Any) -> list[ReadManifest]:
    with hold(engine.metadata, engine.content, "test") as lease:
        for blob in layout.blobs.values():
            store_blob(engine, lease, [blob])
        return read_graph(engine, lease.digests(), Descriptor.from_json(descriptor), **options)


def names(engine: Engine) -> dict[str, Digest]:
    return {record.name: record.target.digest for record in all_records(engine.metadata)}


def test_image_facts(engine: Engine) -> None:
    layout = Layout()
    target = layout.image([make_layer("a"), make_layer("b")], config={"Labels": {"k": "v"}})
    (recorded,) = read(engine, layout, target)
    assert (recorded.document.kind, recorded.document.platform, recorded.document.labels) == (Kind.IMAGE, AMD64, {"k": "v"})
    assert str(recorded.document.created) == "2023-11-14T22:13:20Z"
    assert [edge.role for edge in recorded.document.edges] == [Role.CONFIG, Role.LAYER, Role.LAYER]
    assert recorded.config == recorded.document.edges[0].child.digest


def test_children_come_before_parents(engine: Engine) -> None:
    layout = Layout()
    inner = layout.multi_platform(("linux/amd64",))
    outer = layout.index([inner])
    kinds = [recorded.document.kind for recorded in read(engine, layout, outer)]
    assert kinds == [Kind.IMAGE, Kind.ARTIFACT, Kind.INDEX, Kind.INDEX]


def test_manifest_listed_twice_is_recorded_once(engine: Engine) -> None:
    layout = Layout()
    image = layout.image([make_layer()])
    graph = read(engine, layout, layout.index([on_platform(image, "linux/amd64"), on_platform(image, "linux/386")]))
    assert len(graph) == 2


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("docker", [False, True])
def test_layers_of_every_compression(engine: Engine, compression: str, docker: bool) -> None:
    layout = Layout()
    assert read(engine, layout, layout.image([make_layer()], compression=compression, docker=docker))[0].document.kind is Kind.IMAGE


def test_chart_is_an_artifact(engine: Engine) -> None:
    layout = Layout()
    (recorded,) = read(engine, layout, layout.chart())
    assert recorded.document.kind is Kind.ARTIFACT


def test_config_of_an_artifact_need_not_be_an_image_config(engine: Engine) -> None:
    layout = Layout()
    config = layout.add(b"not even JSON", "application/vnd.example.config")
    (recorded,) = read(engine, layout, layout.manifest(config, [layout.add(b"content", "application/vnd.example.content")]))
    assert (recorded.document.kind, recorded.document.platform, recorded.config) == (Kind.ARTIFACT, None, None)


def test_encrypted_layers_are_not_read(engine: Engine) -> None:
    layout = Layout()
    encrypted = layout.add(b"\x01\x02\x03", mediatypes.OCI_LAYER_GZIP + "+encrypted")
    config = layout.add_json(make_config([digest_of(b"what it decrypts to")]), mediatypes.OCI_CONFIG)
    assert read(engine, layout, layout.manifest(config, [encrypted]))[0].document.kind is Kind.IMAGE


def test_foreign_layer_may_be_absent(engine: Engine) -> None:
    layout = Layout()
    foreign = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": digest_of(b"elsewhere"), "size": 9}
    config = layout.add_json(make_config([digest_of(b"unpacked")]), mediatypes.DOCKER_CONFIG)
    assert len(read(engine, layout, layout.manifest(config, [foreign], media_type=mediatypes.DOCKER_MANIFEST))) == 1


def test_index_may_lack_manifests(engine: Engine) -> None:
    layout = partial_layout()
    graph = read(engine, layout, layout.manifests[0])
    assert [recorded.document.kind for recorded in graph] == [Kind.IMAGE, Kind.ARTIFACT, Kind.INDEX]
    assert len(graph[-1].document.edges) == 4


def test_index_may_lack_all_of_its_manifests(engine: Engine) -> None:
    layout = Layout()
    image = layout.image([make_layer()])
    index = layout.index([on_platform(image, "linux/amd64")])
    del layout.blobs[image["digest"]]
    assert [recorded.document.kind for recorded in read(engine, layout, index)] == [Kind.INDEX]


def test_manifest_of_an_index_without_its_config_counts_as_absent(engine: Engine) -> None:
    layout = Layout()
    kept, bare = layout.image([make_layer("a")]), layout.image([make_layer("b")], platform="linux/arm64")
    index = layout.index([on_platform(kept, "linux/amd64"), on_platform(bare, "linux/arm64")])
    manifest = json.loads(layout.blobs[bare["digest"]])
    del layout.blobs[manifest["config"]["digest"]], layout.blobs[manifest["layers"][0]["digest"]]
    assert [str(recorded.document.digest) for recorded in read(engine, layout, index)] == [kept["digest"], index["digest"]]


def two_platforms() -> tuple[Layout, Json, Json, Json]:
    """A layout, its index, and the index's two images."""
    layout = Layout()
    index = layout.multi_platform(("linux/amd64", "linux/arm64/v8"), attested=False)
    amd64, arm64 = json.loads(layout.blobs[index["digest"]])["manifests"]
    return layout, index, amd64, arm64


def parts(layout: Layout, manifest: Json) -> list[str]:
    """Digests of a manifest, its config and its layers, in this order."""
    document = json.loads(layout.blobs[manifest["digest"]])
    return [manifest["digest"], *(part["digest"] for part in (document["config"], *document["layers"]))]


def store(engine: Engine, lease: Lease, layout: Layout, digests: Iterable[str]) -> None:
    for digest in digests:
        store_blob(engine, lease, [layout.blobs[digest]])


@pytest.mark.parametrize("left", [pytest.param(slice(2), id="manifest and config"), pytest.param(slice(3), id="half of the layers")])
def test_what_a_broken_transfer_left_below_an_index_counts_as_absent(engine: Engine, left: slice) -> None:
    layout, index, amd64, arm64 = two_platforms()
    with hold(engine.metadata, engine.content, "broken") as broken, hold(engine.metadata, engine.content, "whole") as lease:
        store(engine, broken, layout, parts(layout, arm64)[left])
        store(engine, lease, layout, [index["digest"], *parts(layout, amd64)])
        graph = read_graph(engine, lease.digests(), Descriptor.from_json(index))
    assert [str(recorded.document.digest) for recorded in graph] == [amd64["digest"], index["digest"]]


def test_another_image_below_an_index_may_go_while_the_index_is_recorded(engine: Engine) -> None:
    layout, index, amd64, arm64 = two_platforms()
    other = put_image(engine, "other", layout, arm64)
    with hold(engine.metadata, engine.content, "test") as lease:
        store(engine, lease, layout, [index["digest"], *parts(layout, amd64)])
        graph = read_graph(engine, lease.digests(), Descriptor.from_json(index))
        delete_image(engine, "other")
        with engine.metadata.write() as tx:
            record_graph(tx, graph, read_configs(engine.content, graph))
            assert tx.graph.manifests([other, Digest.parse(amd64["digest"])]).keys() == {Digest.parse(amd64["digest"])}


def test_an_index_is_whole_enough_with_an_image_that_was_here_before(engine: Engine) -> None:
    layout, index, _, arm64 = two_platforms()
    put_image(engine, "other", layout, arm64)
    with hold(engine.metadata, engine.content, "test") as lease:
        store(engine, lease, layout, [index["digest"]])
        (recorded,) = read_graph(engine, lease.digests(), Descriptor.from_json(index))
    assert recorded.document.kind is Kind.INDEX


def test_matcher_leaves_other_platforms_and_their_attestations_out(engine: Engine) -> None:
    layout = Layout()
    index = layout.multi_platform()
    graph = read(engine, layout, index, matcher=PlatformMatcher.any_of((ARM64,), AMD64))
    _, arm64, _, _, attestation, _ = json.loads(layout.blobs[index["digest"]])["manifests"]
    assert [str(recorded.document.digest) for recorded in graph] == [each["digest"] for each in (arm64, attestation, index)]


def missing_layer(layout: Layout) -> Json:
    image = layout.image([make_layer()])
    del layout.blobs[json.loads(layout.blobs[image["digest"]])["layers"][0]["digest"]]
    return image


def missing_config(layout: Layout) -> Json:
    image = layout.image([make_layer()])
    del layout.blobs[json.loads(layout.blobs[image["digest"]])["config"]["digest"]]
    return image


def missing_target(layout: Layout) -> Json:
    image = layout.image([make_layer()])
    del layout.blobs[image["digest"]]
    return image


def missing_layer_below_an_index(layout: Layout) -> Json:
    return layout.index([missing_layer(layout)])


def wrong_diff_id(layout: Layout) -> Json:
    config = layout.add_json(make_config([digest_of(b"another")]), mediatypes.OCI_CONFIG)
    return layout.manifest(config, [layout.add(compress(make_layer(), "gzip"), mediatypes.OCI_LAYER_GZIP)])


def too_few_diff_ids(layout: Layout) -> Json:
    config = layout.add_json(make_config([]), mediatypes.OCI_CONFIG)
    return layout.manifest(config, [layout.add(make_layer(), mediatypes.OCI_LAYER)])


def unreadable_layer(layout: Layout) -> Json:
    config = layout.add_json(make_config([digest_of(make_layer())]), mediatypes.OCI_CONFIG)
    return layout.manifest(config, [layout.add(compress(make_layer(), "gzip")[:-9], mediatypes.OCI_LAYER_GZIP)])


def wrong_size(layout: Layout) -> Json:
    config = layout.add_json(make_config([digest_of(make_layer())]), mediatypes.OCI_CONFIG)
    return layout.manifest(config, [{**layout.add(make_layer(), mediatypes.OCI_LAYER), "size": 5}])


def config_that_is_no_object(layout: Layout) -> Json:
    return layout.manifest(layout.add(b"[]", mediatypes.OCI_CONFIG), [layout.add(make_layer(), mediatypes.OCI_LAYER)])


def manifest_called_index(layout: Layout) -> Json:
    return {**layout.image([make_layer()]), "mediaType": mediatypes.OCI_INDEX}


def manifest_and_index_in_one(layout: Layout) -> Json:
    config = layout.add_json(make_config([]), mediatypes.OCI_CONFIG)
    return layout.manifest(config, [], manifests=[])


def a_layer(layout: Layout) -> Json:
    return layout.add(make_layer(), mediatypes.OCI_LAYER)


def too_deep(layout: Layout) -> Json:
    descriptor = layout.image([make_layer()])
    for _ in range(6):
        descriptor = layout.index([descriptor])
    return descriptor


def too_large(layout: Layout) -> Json:
    config = layout.add_json(make_config([]), mediatypes.OCI_CONFIG)
    return layout.manifest(config, [], annotations={"a": "x" * (5 << 20)})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(missing_layer, "missing blob sha256:", id="missing layer"),
        pytest.param(missing_config, "missing blob sha256:", id="missing config"),
        pytest.param(missing_target, "missing blob sha256:", id="missing target"),
        pytest.param(missing_layer_below_an_index, "missing blob sha256:", id="missing layer below an index"),
        pytest.param(wrong_diff_id, "wrong diff id calculated on extraction", id="wrong diff_id"),
        pytest.param(too_few_diff_ids, "mismatched image rootfs and manifest layers", id="too few diff_ids"),
        pytest.param(unreadable_layer, "not a readable", id="layer cut"),
        pytest.param(wrong_size, "unexpected size", id="wrong size"),
        pytest.param(config_that_is_no_object, "json: cannot unmarshal array", id="config is no object"),
        pytest.param(manifest_called_index, "expected index but found manifest", id="manifest called index"),
        pytest.param(manifest_and_index_in_one, "expected manifest but found index", id="manifest and index in one"),
        pytest.param(a_layer, "unsupported media type", id="a layer as an image"),
        pytest.param(too_deep, "nested too deeply", id="deep nesting"),
        pytest.param(too_large, "larger than 4194304 bytes", id="manifest over 4 MiB"),
    ],
)
def test_refuses(engine: Engine, make: Any, words: str) -> None:
    layout = Layout()
    with pytest.raises(InvalidContent, match=words):
        read(engine, layout, make(layout))
    assert list(engine.content.blobs()) == []


def test_recorded_images_are_listed(engine: Engine) -> None:
    digest = put_image(engine, "simple")
    assert [record.name for record in all_records(engine.metadata)] == ["docker.io/library/simple:latest"]
    with engine.metadata.read() as tx:
        assert tx.graph.content_sizes([digest]) == {digest: sum(size for _, size in engine.content.blobs())}


def assign(engine: Engine, name: str, label: str) -> Digest | None:
    """Store an image that the label distinguishes and give it the name."""
    layout = simple_layout(label=label)
    target = Descriptor.from_json({**layout.manifests[0], "annotations": {}})
    with hold(engine.metadata, engine.content, "test") as lease:
        for blob in layout.blobs.values():
            store_blob(engine, lease, [blob])
        graph = read_graph(engine, lease.digests(), target)
        with engine.metadata.write() as tx:
            record_graph(tx, graph, read_configs(engine.content, graph))
            return assign_name(tx, name or dangling_name(target.digest), target, engine.clock())


def test_overwritten_target_stays_dangling(engine: Engine) -> None:
    assign(engine, "docker.io/library/a:1", "old")
    old = names(engine)["docker.io/library/a:1"]
    assert assign(engine, "docker.io/library/a:1", "new") == old
    assert names(engine).keys() == {"docker.io/library/a:1", dangling_name(old)}


def test_overwritten_target_with_another_name_is_not_dangling(engine: Engine) -> None:
    assign(engine, "docker.io/library/a:1", "old")
    assign(engine, "docker.io/library/b:1", "old")
    assert assign(engine, "docker.io/library/a:1", "new") is None
    assert names(engine).keys() == {"docker.io/library/a:1", "docker.io/library/b:1"}


def test_name_ends_dangling(engine: Engine) -> None:
    assign(engine, "", "one")
    assign(engine, "docker.io/library/a:1", "one")
    assert names(engine).keys() == {"docker.io/library/a:1"}


def test_named_target_gets_no_dangling_twin(engine: Engine) -> None:
    assign(engine, "docker.io/library/a:1", "one")
    assign(engine, "", "one")
    assert names(engine).keys() == {"docker.io/library/a:1"}


def test_same_target_again_changes_nothing(engine: Engine) -> None:
    assign(engine, "docker.io/library/a:1", "one")
    before = all_records(engine.metadata)
    assert assign(engine, "docker.io/library/a:1", "one") is None
    assert all_records(engine.metadata) == before
