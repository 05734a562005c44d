"""Archives out with some platforms only: what becomes the image, what manifest.json names, which attestations come along."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stowage.services.engine import Engine
from stowage.services.gc.collector import collect_garbage
from stowage.services.oci.platform import Platform
from tests.builders import Json, Layout, blob_path, load_image, make_layer, on_platform
from tests.listings import all_records
from tests.services.images.archives import AMD64, ARM64, document, listed, members, multi, nested, put_layout, save


def blobs(archive: bytes) -> set[str]:
    return {name for name in members(archive) if name.startswith("blobs/sha256/")}


def test_manifest_json_names_the_preferred_platform(engine: Engine) -> None:
    layout = put_layout(engine, "docker.io/library/multi:1", lambda layout: layout.multi_platform(("linux/arm64/v8", "linux/amd64")))
    archive = save(engine, "multi:1")
    amd64 = json.loads(layout.blobs[layout.manifests[0]["digest"]])["manifests"][1]
    (entry,) = document(archive, "manifest.json")
    assert entry["Config"] == blob_path(json.loads(layout.blobs[amd64["digest"]])["config"]["digest"])
    assert entry["RepoTags"] == ["multi:1"]


def test_manifest_json_names_a_platform_that_is_here(engine: Engine) -> None:
    layout = Layout()
    index = layout.multi_platform(("linux/amd64", "linux/arm64/v8"), attested=False)
    amd64, arm64 = json.loads(layout.blobs[index["digest"]])["manifests"]
    config = json.loads(layout.blobs[arm64["digest"]])["config"]["digest"]
    layout.without(amd64)
    layout.tag(index, "docker.io/library/multi:1")
    load_image(engine, layout.to_tar())
    assert document(save(engine, "multi:1"), "manifest.json")[0]["Config"] == blob_path(config)


def test_one_platform_is_saved_as_the_image_itself(engine: Engine) -> None:
    layout = put_layout(engine, "docker.io/library/multi:1", multi)
    arm64 = listed(layout)[1]
    archive = save(engine, "multi:1", platforms=[ARM64])
    entry, _ = document(archive, "index.json")["manifests"]
    assert (entry["digest"], entry["platform"]) == (arm64["digest"], {"architecture": "arm64", "os": "linux", "variant": "v8"})
    assert len(document(archive, "manifest.json")) == 1


def test_several_platforms_keep_the_index(engine: Engine) -> None:
    layout = put_layout(engine, "docker.io/library/multi:1", multi)
    archive = save(engine, "multi:1", platforms=[ARM64, AMD64])
    entry = document(archive, "index.json")["manifests"][0]
    assert entry["digest"] == layout.manifests[0]["digest"]
    amd64, arm64, arm, *_ = listed(layout)
    assert [blob_path(each["digest"]) in members(archive) for each in (amd64, arm64, arm)] == [True, True, False]


def saved_content(layout: Layout, *manifests: Json) -> set[str]:
    """The members that hold these manifests and what they consist of."""
    documents = [json.loads(layout.blobs[manifest["digest"]]) for manifest in manifests]
    parts = [part for document in documents for part in [document["config"], *document["layers"]]]
    return {blob_path(part["digest"]) for part in [*manifests, *parts]}


def referrer(attestation: Json, subject: Json, **more: str) -> Json:
    """The entry of index.json for an attestation that is saved beside its manifest."""
    annotations = {"io.containerd.manifest.subject": subject["digest"]}
    return {key: attestation[key] for key in ("mediaType", "digest", "size")} | {"annotations": annotations, **more}


def test_a_platform_has_its_attestation_with_it(engine: Engine) -> None:
    layout = put_layout(engine, "docker.io/library/multi:1", multi)
    _, arm64, _, _, attestation, _ = listed(layout)
    archive = save(engine, "multi:1", platforms=[ARM64])
    assert document(archive, "index.json")["manifests"][1:] == [referrer(attestation, arm64)]
    assert blobs(archive) == saved_content(layout, arm64, attestation)


def test_several_platforms_have_their_attestations_by_digest(engine: Engine) -> None:
    layout = put_layout(engine, "docker.io/library/multi:1", multi)
    amd64, arm64, _, *attestations = listed(layout)
    archive = save(engine, "multi:1", platforms=[AMD64, ARM64])
    pairs = sorted(zip(attestations, (amd64, arm64), strict=False), key=lambda pair: str(pair[0]["digest"]))
    assert document(archive, "index.json")["manifests"][1:] == [referrer(*pair) for pair in pairs]
    assert blobs(archive) == {blob_path(layout.manifests[0]["digest"])} | saved_content(layout, amd64, arm64, *attestations[:2])


def test_an_attestation_is_listed_once_for_all_names(engine: Engine) -> None:
    layout = put_layout(engine, "docker.io/library/multi:1", multi)
    put_layout(engine, "docker.io/library/multi:2", multi)
    archive = save(engine, "multi", platforms=[ARM64])
    _, arm64, _, _, attestation, _ = listed(layout)
    digests = [entry["digest"] for entry in document(archive, "index.json")["manifests"]]
    assert digests == [arm64["digest"], arm64["digest"], attestation["digest"]]


def test_of_several_attestations_the_last_comes_and_its_artifact_type(engine: Engine) -> None:
    layout = Layout()
    image = on_platform(layout.image([make_layer()]), "linux/amd64")
    older = layout.attestation(image)
    kind = "application/vnd.docker.attestation.manifest.v1+json"
    newer = older | layout.manifest(layout.add(b"{}", "application/vnd.oci.empty.v1+json"), [], artifactType=kind)
    layout.tag(layout.index([image, older, newer]), "docker.io/library/any:1")
    load_image(engine, layout.to_tar())
    archive = save(engine, "any:1", platforms=[AMD64])
    assert document(archive, "index.json")["manifests"][1:] == [referrer(newer, image, artifactType=kind)]


@pytest.mark.parametrize(
    ("make", "platforms"),
    [
        pytest.param(multi, [], id="all of an index"),
        pytest.param(multi, [AMD64, Platform(os="unknown", architecture="unknown")], id="asked for"),
        pytest.param(nested, [AMD64, ARM64], id="in a nested index"),
    ],
)
def test_an_attestation_that_is_saved_within_its_index_is_no_entry(
    engine: Engine, make: Callable[[Layout], Json], platforms: list[Platform]
) -> None:
    layout = put_layout(engine, "docker.io/library/any:1", make)
    archive = save(engine, "any:1", platforms=platforms)
    assert [entry["digest"] for entry in document(archive, "index.json")["manifests"]] == [layout.manifests[0]["digest"]]


def test_an_attestation_that_is_not_here_is_left_out(engine: Engine) -> None:
    layout = Layout()
    index = layout.multi_platform(("linux/amd64",))
    amd64, attestation = json.loads(layout.blobs[index["digest"]])["manifests"]
    layout.without(attestation)
    layout.tag(index, "docker.io/library/any:1")
    load_image(engine, layout.to_tar())
    archive = save(engine, "any:1", platforms=[AMD64])
    assert len(document(archive, "index.json")["manifests"]) == 1
    assert blobs(archive) == saved_content(layout, amd64)


def test_a_saved_platform_is_loaded_as_one_image_with_its_attestation(engine: Engine) -> None:
    layout = put_layout(engine, "docker.io/library/multi:1", multi)
    _, arm64, _, _, attestation, _ = listed(layout)
    saved = save(engine, "multi:1", platforms=[ARM64])
    with engine.metadata.write() as tx:
        tx.images.delete(["docker.io/library/multi:1"])
    collect_garbage(engine.metadata, engine.content)
    assert load_image(engine, saved) == ["Loaded image: multi:1\n"]
    (record,) = all_records(engine.metadata)
    assert (record.name, str(record.target.digest)) == ("docker.io/library/multi:1", arm64["digest"])
    assert {blob_path(str(digest)) for digest, _ in engine.content.blobs()} == saved_content(layout, arm64, attestation)
