"""Of the platforms of an archive only those that were asked for become images, with their attestations."""

from __future__ import annotations

import json

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import NotFound
from stowage.services.images.delete import delete_image
from stowage.services.images.save import save_images
from stowage.services.metadata.records import Kind
from stowage.services.oci.platform import Platform
from tests.builders import (
    ArchivedImage,
    Json,
    Layout,
    docker_archive,
    load_image,
    make_layer,
    on_platform,
    partial_layout,
    put_image,
    simple_layout,
)
from tests.listings import all_manifests
from tests.services.images.archives import AMD64, ARM64, ARMV7, S390X, blobs, listed, names


def load_multi(engine: Engine, *platforms: Platform) -> Layout:
    layout = Layout()
    layout.tag(layout.multi_platform(), "docker.io/library/multi:latest")
    load_image(engine, layout.to_tar(), platforms=platforms)
    return layout


def content(layout: Layout, *manifests: Json) -> set[str]:
    """These manifests and what they consist of."""
    documents = [json.loads(layout.blobs[manifest["digest"]]) for manifest in manifests]
    parts = [part for document in documents for part in [document["config"], *document["layers"]]]
    return {each["digest"] for each in [*manifests, *parts]}


def present_platforms(engine: Engine) -> list[str]:
    """Of images, not of attestations."""
    platforms = [facts.platform for facts in all_manifests(engine.metadata).values() if facts.kind is Kind.IMAGE]
    return sorted(map(str, platforms))


def test_one_platform_with_its_attestation(engine: Engine) -> None:
    layout = load_multi(engine, ARM64)
    _, arm64, _, _, attestation, _ = listed(layout)
    assert blobs(engine) == {layout.manifests[0]["digest"]} | content(layout, arm64, attestation)


def test_of_several_attestations_the_last_is_taken(engine: Engine) -> None:
    layout = Layout()
    image = on_platform(layout.image([make_layer()]), "linux/amd64")
    older = layout.attestation(image)
    newer = older | layout.manifest(layout.add(b"{}", "application/vnd.oci.empty.v1+json"), [])
    layout.tag(layout.index([image, older, newer]), "docker.io/library/any:1")
    load_image(engine, layout.to_tar(), platforms=[AMD64])
    assert blobs(engine) == {layout.manifests[0]["digest"]} | content(layout, image, newer)


def test_one_platform_of_a_nested_index_with_its_attestation(engine: Engine) -> None:
    layout = Layout()
    inner = layout.multi_platform(("linux/amd64", "linux/arm64/v8"))
    layout.tag(layout.index([inner]), "docker.io/library/any:1")
    load_image(engine, layout.to_tar(), platforms=[ARM64])
    _, arm64, _, attestation = json.loads(layout.blobs[inner["digest"]])["manifests"]
    assert blobs(engine) == {layout.manifests[0]["digest"], inner["digest"]} | content(layout, arm64, attestation)


def test_an_attestation_may_not_lack_when_its_platform_is_asked_for(engine: Engine) -> None:
    layout = Layout()
    layout.tag(layout.multi_platform(("linux/amd64", "linux/arm64/v8")), "docker.io/library/multi:latest")
    *_, attestation = listed(layout)
    layout.without(attestation)
    with pytest.raises(NotFound) as refused:
        load_image(engine, layout.to_tar(), platforms=[ARM64])
    missing = f"content digest {attestation['digest']}: not found"
    assert str(refused.value) == f"requested platform(s) ([linux/arm64/v8]) found, but some content is missing: {missing}"
    assert load_image(engine, layout.to_tar(), platforms=[AMD64]) == ["Loaded image: multi:latest\n"]


def test_saved_platforms_keep_their_attestations(engine: Engine) -> None:
    load_multi(engine)
    asked = [AMD64, ARM64]
    saved = b"".join(save_images(engine, ["multi"], platforms=asked))
    delete_image(engine, "multi")
    load_image(engine, saved, platforms=asked)
    assert b"".join(save_images(engine, ["multi"], platforms=asked)) == saved


def test_several_platforms(engine: Engine) -> None:
    load_multi(engine, ARM64, ARMV7)
    assert present_platforms(engine) == ["linux/arm/v7", "linux/arm64/v8"]


def test_platform_added_later(engine: Engine) -> None:
    load_multi(engine, ARM64)
    load_multi(engine, AMD64)
    assert present_platforms(engine) == ["linux/amd64", "linux/arm64/v8"]


def test_platform_that_only_the_store_has(engine: Engine) -> None:
    layout = Layout()
    layout.tag(layout.multi_platform(("linux/amd64", "linux/arm64/v8"), attested=False), "docker.io/library/multi:latest")
    _, arm64 = listed(layout)
    put_image(engine, "arm", layout, arm64)
    layout.without(arm64)
    assert load_image(engine, layout.to_tar(), platforms=[ARM64]) == ["Loaded image: multi:latest\n"]


def test_platform_of_a_single_image(engine: Engine) -> None:
    assert load_image(engine, simple_layout().to_tar(), platforms=[AMD64]) == ["Loaded image: simple:latest\n"]


def two_images() -> bytes:
    layout = Layout()
    layout.tag(layout.image([make_layer("a")]), "docker.io/library/a:1")
    layout.tag(layout.image([make_layer("b")]), "docker.io/library/b:1")
    return layout.to_tar()


@pytest.mark.parametrize(
    ("archive", "platform", "words"),
    [
        pytest.param(simple_layout().to_tar(), ARM64, "image simple:latest doesn't provide the requested "
                                                      "platform ([linux/arm64/v8])", id="single image"),
        pytest.param(two_images(), S390X, "images [a:1, b:1] don't provide the requested platform ([linux/s390x])", id="two images"),
        pytest.param(partial_layout().to_tar(), S390X, "image partial:latest doesn't provide the requested "
                                                       "platform ([linux/s390x])", id="index"),
        pytest.param(
            partial_layout().to_tar(), ARM64, "requested platform(s) ([linux/arm64/v8]) found, but some "
                                              "content is missing: content digest sha256:", id="absent"
        ),
        pytest.param(
            docker_archive(ArchivedImage((make_layer(),), ("a:1",))), ARM64,
            "requested platform(s) ([linux/arm64/v8]) not found: image might be filtered out", id="docker-archive",
        ),
    ],
)  # fmt: skip
def test_platform_that_is_not_there(engine: Engine, archive: bytes, platform: Platform, words: str) -> None:
    with pytest.raises(NotFound) as refused:
        load_image(engine, archive, platforms=[platform])
    assert str(refused.value).startswith(words)
    assert (names(engine), blobs(engine)) == ({}, set())
