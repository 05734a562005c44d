"""Archives of every form become images; loading again changes nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from services.engine import Engine
from services.errors import InvalidContent, NotFound
from services.images.delete import delete_image
from services.images.load import load_image as stream_load
from services.images.publish import Recorded, read_graph
from services.images.save import save_images
from services.metadata.protocol import Kind
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.oci.platform import Platform, PlatformMatcher
from services.oci.reference import dangling_name
from tests.builders import (
    ArchivedImage,
    Json,
    Layout,
    Link,
    compress,
    digest_of,
    docker_archive,
    docker_archive_members,
    load_image,
    make_layer,
    make_tar,
    on_platform,
    partial_layout,
    put_image,
    simple_layout,
    to_json,
)

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64", variant="v8")
ARMV7 = Platform(os="linux", architecture="arm", variant="v7")
S390X = Platform(os="linux", architecture="s390x")


def names(engine: Engine) -> dict[str, str]:
    return {record.name: str(record.target.digest) for record in engine.metadata.catalog().images}


def blobs(engine: Engine) -> set[str]:
    return {str(digest) for digest, _ in engine.content.blobs()}


def test_layout(engine: Engine) -> None:
    layout = simple_layout("docker.io/library/simple:latest")
    assert load_image(engine, layout.to_tar()) == ["Loaded image: simple:latest\n"]
    assert names(engine) == {"docker.io/library/simple:latest": layout.manifests[0]["digest"]}
    assert blobs(engine) == set(layout.blobs)


def test_target_keeps_the_annotations_of_its_entry_and_no_platform(engine: Engine) -> None:
    layout = Layout()
    layout.tag(on_platform(layout.image([make_layer()]), "linux/amd64"), "docker.io/library/a:1")
    load_image(engine, layout.to_tar())
    (record,) = engine.metadata.catalog().images
    assert dict(record.target.annotations) == {"io.containerd.image.name": "docker.io/library/a:1", "org.opencontainers.image.ref.name": "1"}
    assert record.target.platform is None


@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz", "zstd"])
def test_docker_archive(engine: Engine, compression: str) -> None:
    archive = docker_archive(
        ArchivedImage((make_layer("one"), make_layer("two")), ("classic:1", "classic:two")), ArchivedImage((make_layer("one"),), ("team/other:b",))
    )
    lines = load_image(engine, compress(archive, compression))
    assert lines == ["Loaded image: classic:1\n", "Loaded image: classic:two\n", "Loaded image: team/other:b\n"]
    assert names(engine).keys() == {"docker.io/library/classic:1", "docker.io/library/classic:two", "docker.io/team/other:b"}


def test_docker_archive_keeps_only_what_its_images_need(engine: Engine) -> None:
    archive = docker_archive_members([ArchivedImage((make_layer("one"),), ("classic:1",))])
    load_image(engine, make_tar(archive | {"large": b"\1" * 100_000}))
    config = next(member for name, member in archive.items() if name.endswith(".json"))
    assert isinstance(config, bytes)
    manifest = names(engine)["docker.io/library/classic:1"]
    assert blobs(engine) == {digest_of(make_layer("one")), digest_of(config), manifest}


def test_layer_may_be_a_link_to_another(engine: Engine) -> None:
    layer = make_layer("one")
    members = docker_archive_members([ArchivedImage((layer, layer), ("twice:1",))])
    manifest = json.loads(members["manifest.json"] or b"")  # type: ignore[arg-type]
    manifest[0]["Layers"][1] = "linked/layer.tar"
    target = "../" + manifest[0]["Layers"][0]
    archive = make_tar(members | {"linked/layer.tar": Link(target), "manifest.json": to_json(manifest)})
    assert load_image(engine, archive) == ["Loaded image: twice:1\n"]


def test_layer_that_is_here_compressed_is_used_so(engine: Engine) -> None:
    layout = Layout()
    layout.tag(layout.image([make_layer("base")]), "docker.io/library/base:1")
    load_image(engine, layout.to_tar())
    load_image(engine, docker_archive(ArchivedImage((make_layer("base"),), ("classic:1",))))
    assert digest_of(make_layer("base")) not in blobs(engine)
    with engine.metadata.read() as tx:
        facts = tx.graph.manifest(Digest.parse(names(engine)["docker.io/library/classic:1"]))
    assert facts is not None
    assert facts.edges[1].child.media_type == "application/vnd.docker.image.rootfs.diff.tar.gzip"


def test_layout_that_is_a_docker_archive_too_is_read_as_a_layout(engine: Engine) -> None:
    layout = simple_layout("docker.io/library/simple:latest")
    archive = make_tar(layout.members() | {"manifest.json": b'[{"Config":"nothing","RepoTags":["other:1"],"Layers":[]}]'})
    assert load_image(engine, archive) == ["Loaded image: simple:latest\n"]


def test_order_and_names_of_several_images(engine: Engine) -> None:
    layout = Layout()
    first, second = layout.image([make_layer("a")]), layout.image([make_layer("b")])
    for descriptor, name in ((second, "localhost:5000/team/b:v3"), (first, "docker.io/library/a:1"), (first, "docker.io/library/a:2")):
        layout.tag(descriptor, name)
    assert load_image(engine, layout.to_tar()) == ["Loaded image: localhost:5000/team/b:v3\n", "Loaded image: a:1\n", "Loaded image: a:2\n"]


def test_names_are_made_canonical(engine: Engine) -> None:
    layout = Layout()
    image = layout.image([make_layer()])
    layout.manifests = [{**image, "annotations": {"org.opencontainers.image.ref.name": "short"}}]
    assert load_image(engine, layout.to_tar()) == ["Loaded image: short:latest\n"]
    assert names(engine).keys() == {"docker.io/library/short:latest"}


def test_name_with_its_digest(engine: Engine) -> None:
    layout = Layout()
    image = layout.image([make_layer()])
    layout.tag(image, f"docker.io/library/a:1@{image['digest']}")
    assert load_image(engine, layout.to_tar()) == [f"Loaded image: a@{image['digest']}\n"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(None, id="none"),
        pytest.param("docker.io/Library/BAD NAME:latest", id="no reference"),
        pytest.param("DANGLING", id="the dangling name itself"),
    ],
)
def test_images_without_a_valid_name_are_dangling(engine: Engine, name: str | None) -> None:
    layout = Layout()
    image = layout.image([make_layer()])
    dangling = dangling_name(Digest.parse(image["digest"]))
    layout.tag(image, dangling if name == "DANGLING" else name)
    assert load_image(engine, layout.to_tar()) == [f"Loaded image ID: {image['digest']}\n"]
    assert names(engine) == {dangling: image["digest"]}


def test_untagged_docker_archive(engine: Engine) -> None:
    (line,) = load_image(engine, docker_archive(ArchivedImage((make_layer(),))))
    (digest,) = names(engine).values()
    assert line == f"Loaded image ID: {digest}\n"


def multi(layout: Layout) -> Json:
    return layout.multi_platform()


def nested(layout: Layout) -> Json:
    return layout.index([layout.multi_platform(("linux/amd64",))])


def chart(layout: Layout) -> Json:
    return layout.chart()


def zstd(layout: Layout) -> Json:
    return layout.image([make_layer("a"), make_layer("b")], compression="zstd")


def empty(layout: Layout) -> Json:
    return layout.image([])


@pytest.mark.parametrize("make", [multi, nested, chart, zstd, empty])
def test_every_kind_keeps_all_of_its_blobs(engine: Engine, make: Callable[[Layout], Json]) -> None:
    layout = Layout()
    layout.tag(make(layout), "docker.io/library/any:1")
    assert load_image(engine, layout.to_tar()) == ["Loaded image: any:1\n"]
    assert blobs(engine) == set(layout.blobs)


def test_partial_index(engine: Engine) -> None:
    layout = partial_layout()
    assert load_image(engine, layout.to_tar()) == ["Loaded image: partial:latest\n"]
    assert blobs(engine) == set(layout.blobs)


def test_referrer_is_no_image_of_its_own(engine: Engine) -> None:
    layout = simple_layout()
    signature = layout.manifest(layout.add(b"{}", "application/vnd.oci.empty.v1+json"), [layout.add(b"signed", "application/vnd.example.signature")])
    layout.manifests.append({**signature, "annotations": {"io.containerd.manifest.subject": layout.manifests[0]["digest"]}})
    assert load_image(engine, layout.to_tar()) == ["Loaded image: simple:latest\n"]


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(simple_layout("docker.io/library/a:1").to_tar(), id="layout"),
        pytest.param(simple_layout(None).to_tar(), id="untagged layout"),
        pytest.param(docker_archive(ArchivedImage((make_layer(),), ("a:1",))), id="docker-archive"),
        pytest.param(docker_archive(ArchivedImage((make_layer(),))), id="untagged docker-archive"),
        pytest.param(partial_layout().to_tar(), id="partial index"),
    ],
)
def test_again_changes_nothing(engine: Engine, archive: bytes) -> None:
    first = load_image(engine, archive)
    images, stored = engine.metadata.catalog().images, blobs(engine)
    assert load_image(engine, archive) == first
    assert (engine.metadata.catalog().images, blobs(engine)) == (images, stored)


def test_untagged_archive_of_a_named_image_leaves_no_twin(engine: Engine) -> None:
    put_image(engine, "named")
    load_image(engine, simple_layout(None).to_tar())
    assert names(engine).keys() == {"docker.io/library/named:latest"}


def test_overwritten_name_leaves_the_old_image_dangling(engine: Engine) -> None:
    old = put_image(engine, "a", simple_layout(label="old"))
    load_image(engine, simple_layout("docker.io/library/a:latest", label="new").to_tar())
    assert names(engine).keys() == {"docker.io/library/a:latest", dangling_name(old)}


def test_body_is_read_to_its_end(engine: Engine) -> None:
    source = io.BytesIO(simple_layout().to_tar() + bytes(3 << 20))
    list(stream_load(engine, source))
    assert source.read() == b""


def test_body_of_a_refused_archive_is_read_on(engine: Engine) -> None:
    source = io.BytesIO(b"garbage" * (1 << 18))
    with pytest.raises(InvalidContent):
        list(stream_load(engine, source))
    assert source.read() == b""


def load_multi(engine: Engine, *platforms: Platform) -> Layout:
    layout = Layout()
    layout.tag(layout.multi_platform(), "docker.io/library/multi:latest")
    load_image(engine, layout.to_tar(), platforms=platforms)
    return layout


def listed(layout: Layout) -> list[Json]:
    """What the index of the layout's first image lists."""
    children: list[Json] = json.loads(layout.blobs[layout.manifests[0]["digest"]])["manifests"]
    return children


def content(layout: Layout, *manifests: Json) -> set[str]:
    """These manifests and what they consist of."""
    documents = [json.loads(layout.blobs[manifest["digest"]]) for manifest in manifests]
    parts = [part for document in documents for part in [document["config"], *document["layers"]]]
    return {each["digest"] for each in [*manifests, *parts]}


def present_platforms(engine: Engine) -> list[str]:
    """Of images, not of attestations."""
    platforms = [facts.platform for facts in engine.metadata.catalog().manifests.values() if facts.kind is Kind.IMAGE]
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
        pytest.param(simple_layout().to_tar(), ARM64, "image simple:latest doesn't provide the requested platform ([linux/arm64/v8])", id="single image"),
        pytest.param(two_images(), S390X, "images [a:1, b:1] don't provide the requested platform ([linux/s390x])", id="two images"),
        pytest.param(partial_layout().to_tar(), S390X, "image partial:latest doesn't provide the requested platform ([linux/s390x])", id="index"),
        pytest.param(
            partial_layout().to_tar(), ARM64, "requested platform(s) ([linux/arm64/v8]) found, but some content is missing: content digest sha256:", id="absent"
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


def test_an_image_with_many_names_is_read_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout()
    image = layout.image([make_layer()])
    for tag in range(300):
        layout.tag(image, f"docker.io/library/many:{tag}")
    read: list[Digest] = []

    def counting(engine: Engine, brought: set[Digest], target: Descriptor, *, matcher: PlatformMatcher | None = None) -> list[Recorded]:
        read.append(target.digest)
        return read_graph(engine, brought, target, matcher=matcher)

    monkeypatch.setattr("services.images.load.read_graph", counting)
    assert len(load_image(engine, layout.to_tar())) == 300
    assert len(names(engine)) == 300
    assert len(read) == 1


def test_many_names_are_given_a_few_at_a_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout()
    image = layout.image([make_layer()])
    for tag in range(5):
        layout.tag(image, f"docker.io/library/many:{tag}")
    given: set[int] = set()

    def looking_clock() -> int:
        given.add(len(names(engine)))
        return engine.clock()

    monkeypatch.setattr("services.images.batches.BATCH", 2)
    load_image(replace(engine, clock=looking_clock), layout.to_tar())
    assert given == {0, 2, 4}
    assert len(names(engine)) == 5
