"""Images that do not fit the simple picture are all expressible in the tables, and lists can tell them apart."""

from __future__ import annotations

import json

import pytest

from stowage.services.engine import Engine
from stowage.services.metadata.records import Kind, ManifestDocument, Role
from stowage.services.oci import mediatypes
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from tests.builders import ArchivedImage, Layout, docker_archive, load_image, make_layer, partial_layout, put_image
from tests.listings import all_manifests, all_records


def facts_of(engine: Engine, target: Digest) -> ManifestDocument:
    return all_manifests(engine.metadata)[target]


def content_size(engine: Engine, target: Digest) -> int:
    with engine.metadata.read() as tx:
        return tx.graph.content_sizes([target])[target]


def present_bytes(engine: Engine, target: Digest) -> int:
    with engine.metadata.read() as tx:
        return sum(tx.graph.blob_sizes(tx.graph.descendants([target])).values())


def test_a_partial_index(engine: Engine) -> None:
    target = put_image(engine, "partial", partial_layout())
    manifests = all_manifests(engine.metadata)
    index = manifests[target]
    assert index.kind is Kind.INDEX
    assert [edge.child.platform for edge in index.edges][:2] == [Platform("linux", "amd64"), Platform("linux", "arm64", "v8")]
    assert [edge.child.digest in manifests for edge in index.edges] == [True, False, True, False]
    assert content_size(engine, target) == present_bytes(engine, target)


def test_an_index_with_attestations(engine: Engine) -> None:
    layout = Layout()
    layout.tag(layout.multi_platform(("linux/amd64", "linux/arm64/v8")))
    target = put_image(engine, "attested", layout)
    manifests = all_manifests(engine.metadata)
    children = [edge.child for edge in manifests[target].edges]
    assert len(manifests) == 5
    attestation = children[2]
    assert attestation.annotations == {
        "vnd.docker.reference.digest": str(children[0].digest),
        "vnd.docker.reference.type": "attestation-manifest",
    }
    assert manifests[attestation.digest].kind is Kind.ARTIFACT
    assert content_size(engine, target) == sum(map(len, layout.blobs.values()))


def test_a_helm_chart(engine: Engine) -> None:
    layout = Layout()
    layout.tag(layout.chart())
    target = put_image(engine, "chart", layout)
    facts = facts_of(engine, target)
    assert (facts.kind, facts.created, facts.labels) == (Kind.ARTIFACT, None, None)
    with engine.metadata.read() as tx:
        recorded = tx.graph.manifest(target)
    assert recorded is not None
    assert [edge.role for edge in recorded.edges] == [Role.CONFIG, Role.LAYER]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_layers_meet_in_their_diff_id(engine: Engine, compression: str) -> None:
    layout = Layout()
    layer = make_layer("shared", 5000)
    layout.tag(layout.image([layer], compression=compression))
    target = put_image(engine, "compressed", layout)
    with engine.metadata.read() as tx:
        (stored,) = tx.graph.by_diff_id([Digest.of(layer)]).values()
        recorded = tx.graph.manifest(target)
        assert tx.graph.layers([stored])[stored].size == len(layer)
    assert recorded is not None
    assert recorded.edges[1].child.media_type == {"gzip": mediatypes.OCI_LAYER_GZIP, "zstd": mediatypes.OCI_LAYER_ZSTD}[compression]
    assert recorded.edges[1].child.digest == stored


def test_an_untagged_docker_archive(engine: Engine) -> None:
    load_image(engine, docker_archive(ArchivedImage((make_layer("only"),))))
    (image,) = all_records(engine.metadata)
    assert image.name == f"moby-dangling@{image.target.digest}"
    facts = facts_of(engine, image.target.digest)
    assert (facts.kind, facts.platform) == (Kind.IMAGE, Platform("linux", "amd64"))
    with engine.metadata.read() as tx:
        config = tx.graph.config(image.target.digest)
    assert config is not None
    assert json.loads(config)["rootfs"]["diff_ids"] == [str(Digest.of(make_layer("only")))]
