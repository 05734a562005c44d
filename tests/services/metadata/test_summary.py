"""What an image consists of, told from rows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.images.save import save_images
from stowage.services.metadata.summary import ImageSummary, any_platform, read_manifests, summarize, walk_listed, with_sizes
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.store.resolve import resolve_image
from tests.builders import Layout, compress, make_layer, on_platform, partial_layout, put_image

AMD64 = Platform("linux", "amd64")


def summary_of(engine: Engine, name: str) -> ImageSummary:
    with engine.metadata.read() as tx:
        record = resolve_image(tx, name)
        image = summarize(record, read_manifests(tx, record.target.digest))
        sizes = tx.graph.content_sizes([each.descriptor.digest for each in image.manifests if each.available])
        return replace(image, manifests=with_sizes(image.manifests, sizes))


def size_of(engine: Engine, image: ImageSummary) -> int:
    with engine.metadata.read() as tx:
        return tx.graph.content_sizes([image.record.target.digest])[image.record.target.digest]


def put_index(engine: Engine, name: str, layout: Layout, index: dict[str, object]) -> ImageSummary:
    put_image(engine, name, layout, index)
    return summary_of(engine, name)


def test_a_single_manifest_is_its_own_platform(engine: Engine) -> None:
    digest = put_image(engine, "app")
    image = summary_of(engine, "app")
    (manifest,) = image.manifests
    assert (manifest.descriptor.digest, manifest.kind, manifest.platform, manifest.available) == (digest, "image", AMD64, True)
    assert manifest.size == size_of(engine, image) > manifest.descriptor.size


def test_an_index_tells_every_platform_and_what_its_attestations_are_about(engine: Engine) -> None:
    layout = Layout()
    image = put_index(engine, "multi", layout, layout.multi_platform(("linux/amd64", "linux/arm64/v8")))
    assert [(str(each.platform), each.kind) for each in image.manifests] == [
        ("linux/amd64", "image"),
        ("linux/arm64/v8", "image"),
        ("unknown/unknown", "attestation"),
        ("unknown/unknown", "attestation"),
    ]
    assert [each.attests for each in image.manifests[2:]] == [each.descriptor.digest for each in image.manifests[:2]]


def test_the_size_counts_a_shared_layer_once(engine: Engine) -> None:
    layout = Layout()
    image = put_index(engine, "multi", layout, layout.multi_platform())
    base = len(compress(make_layer("base"), "gzip"))
    assert size_of(engine, image) == sum(map(len, layout.blobs.values()))
    assert image.record.target.size + sum(each.size for each in image.manifests) == size_of(engine, image) + 2 * base


def test_an_absent_platform_is_told_but_has_no_size(engine: Engine) -> None:
    layout = partial_layout()
    image = put_index(engine, "partial", layout, {**layout.manifests[0], "annotations": {}})
    assert [(each.platform.architecture, each.available, each.size > 0) for each in image.manifests] == [
        ("amd64", True, True),
        ("arm64", False, False),
        ("unknown", True, True),
        ("unknown", False, False),
    ]


def test_nested_indexes_are_walked_depth_first(engine: Engine) -> None:
    layout = Layout()
    inner = layout.index([on_platform(layout.image([make_layer(name)]), "linux/amd64") for name in ("one", "two")])
    last = on_platform(layout.image([make_layer("three")]), "linux/arm64")
    image = put_index(engine, "nested", layout, outer := layout.index([inner, last]))
    listed = [each["digest"] for each in json.loads(layout.blobs[inner["digest"]])["manifests"]]
    assert [str(each.descriptor.digest) for each in image.manifests] == [*listed, last["digest"]]
    with engine.metadata.read() as tx:
        manifests = read_manifests(tx, image.record.target.digest)
    assert [str(each.digest) for each in walk_listed(image.record.target, manifests)] == [
        outer["digest"],
        inner["digest"],
        *listed,
        last["digest"],
    ]


def test_indexes_that_list_each_other_many_times_are_entered_once(engine: Engine) -> None:
    layout = Layout()
    child = on_platform(layout.image([make_layer()]), "linux/amd64")
    for _ in range(3):
        child = layout.index([child] * 100)
    image = put_index(engine, "wide", layout, child)
    assert len(image.manifests) == 100
    with engine.metadata.read() as tx:
        assert len(list(walk_listed(image.record.target, read_manifests(tx, image.record.target.digest)))) == 301
    assert b"".join(save_images(engine, ["wide"]))


@pytest.mark.parametrize(
    ("matcher", "best"),
    [
        pytest.param(any_platform(AMD64), "linux/amd64", id="host first"),
        pytest.param(any_platform(Platform("linux", "arm64")), "linux/arm64/v8", id="other host"),
        pytest.param(any_platform(Platform("linux", "s390x")), "linux/amd64", id="first listed"),
        pytest.param(PlatformMatcher.only_strict(Platform("linux", "arm", "v7")), "linux/arm/v7", id="asked for"),
        pytest.param(PlatformMatcher.only_strict(Platform("linux", "s390x")), None, id="not there"),
    ],
)
def test_the_best_platform_is_the_preferred_one_that_matches(engine: Engine, matcher: PlatformMatcher, best: str | None) -> None:
    layout = Layout()
    found = put_index(engine, "multi", layout, layout.multi_platform()).best(matcher)
    assert (str(found.platform) if found else None) == best


def test_the_best_platform_may_be_absent_and_the_best_present_one_not(engine: Engine) -> None:
    layout = partial_layout()
    image = put_index(engine, "partial", layout, {**layout.manifests[0], "annotations": {}})
    matcher = any_platform(Platform("linux", "arm64"))
    best, present = image.best(matcher), image.best_present(matcher)
    assert best is not None and best.platform.architecture == "arm64" and not best.available
    assert present is not None and present.platform.architecture == "amd64"


def test_a_chart_is_of_an_unknown_kind_and_no_platform_can_be_shown(engine: Engine) -> None:
    layout = Layout()
    image = put_index(engine, "chart", layout, layout.chart())
    assert [each.kind for each in image.manifests] == ["unknown"]
    assert image.best(any_platform(AMD64)) is None
    assert image.best_present(any_platform(AMD64)) is image.manifests[0]


@pytest.mark.parametrize(
    "annotations",
    [{"vnd.docker.reference.type": "attestation-manifest"}, {"vnd.docker.reference.type": "x", "vnd.docker.reference.digest": "bad"}],
)
def test_an_attestation_of_nothing_is_unknown(engine: Engine, annotations: dict[str, str]) -> None:
    layout = Layout()
    child = {**layout.image([make_layer("one")]), "annotations": annotations}
    image = put_index(engine, "odd", layout, layout.index([child]))
    assert [(each.kind, each.attests) for each in image.manifests] == [("unknown", None)]
