"""Archives of every form become images; loading again changes nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.images.load import load_image as stream_load
from stowage.services.metadata.records import Role
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.mediatypes import DOCKER_LAYER, DOCKER_LAYER_GZIP
from stowage.services.oci.reference import dangling_name
from stowage.services.store.graph import ReadManifest, read_graph
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
    make_config,
    make_layer,
    make_tar,
    on_platform,
    partial_layout,
    put_image,
    simple_layout,
    to_json,
)
from tests.listings import all_records
from tests.services.images.archives import blobs, chart, multi, names, nested, zstd

STORAGES = ["folder", "s3"]


def layer_types(engine: Engine, name: str) -> list[str]:
    with engine.metadata.read() as tx:
        facts = tx.graph.manifest(Digest.parse(names(engine)[name]))
    assert facts is not None
    return [edge.child.media_type for edge in facts.edges if edge.role is Role.LAYER]


def with_compressed_layer(name: str, compression: str) -> bytes:
    """A docker-archive of one image whose layer is compressed."""
    members = docker_archive_members([ArchivedImage((make_layer("one"),), (name,))])
    layer = next(member for member in members if member.endswith("/layer.tar"))
    return make_tar(members | {layer: compress(make_layer("one"), compression)})


def test_layout(engine: Engine) -> None:
    layout = simple_layout("docker.io/library/simple:latest")
    assert load_image(engine, layout.to_tar()) == ["Loaded image: simple:latest\n"]
    assert names(engine) == {"docker.io/library/simple:latest": layout.manifests[0]["digest"]}
    assert blobs(engine) == set(layout.blobs)


def test_target_keeps_the_annotations_of_its_entry_and_no_platform(engine: Engine) -> None:
    layout = Layout()
    layout.tag(on_platform(layout.image([make_layer()]), "linux/amd64"), "docker.io/library/a:1")
    load_image(engine, layout.to_tar())
    (record,) = all_records(engine.metadata)
    assert dict(record.target.annotations) == {
        "io.containerd.image.name": "docker.io/library/a:1",
        "org.opencontainers.image.ref.name": "1",
    }
    assert record.target.platform is None


@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz", "zstd"])
def test_docker_archive(engine: Engine, compression: str) -> None:
    archive = docker_archive(
        ArchivedImage((make_layer("one"), make_layer("two")), ("classic:1", "classic:two")),
        ArchivedImage((make_layer("one"),), ("team/other:b",)),
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


def test_layer_may_be_a_link_to_a_link(engine: Engine) -> None:
    layer = make_layer("one")
    members = docker_archive_members([ArchivedImage((layer, layer, layer), ("thrice:1",))])
    manifest = json.loads(members["manifest.json"] or b"")  # type: ignore[arg-type]
    manifest[0]["Layers"][1:] = ["b/layer.tar", "c/layer.tar"]
    links = {"c/layer.tar": Link("../b/layer.tar"), "b/layer.tar": Link("../" + manifest[0]["Layers"][0])}
    assert load_image(engine, make_tar(members | links | {"manifest.json": to_json(manifest)})) == ["Loaded image: thrice:1\n"]


def test_layers_may_have_absolute_names_as_those_of_buildpacks_have(engine: Engine) -> None:
    layer, config = make_layer("one"), to_json(make_config([digest_of(make_layer("one"))]))
    member = f"/{digest_of(layer)}.tar"
    manifest = to_json([{"Config": "c.json", "RepoTags": ["pack:1"], "Layers": [member]}])
    assert load_image(engine, make_tar({"c.json": config, member: layer, "manifest.json": manifest})) == ["Loaded image: pack:1\n"]


@pytest.mark.parametrize(
    ("compression", "media_type"),
    [("gzip", DOCKER_LAYER_GZIP), ("zstd", DOCKER_LAYER_GZIP), ("bzip2", DOCKER_LAYER), ("xz", DOCKER_LAYER), ("none", DOCKER_LAYER)],
)
def test_compressed_layer_is_listed_as_containerd_lists_it(engine: Engine, compression: str, media_type: str) -> None:
    load_image(engine, with_compressed_layer("classic:1", compression))
    assert layer_types(engine, "docker.io/library/classic:1") == [media_type]


def test_a_member_may_stand_twice_with_the_same_content(engine: Engine) -> None:
    layer = make_layer("one")
    members = docker_archive_members([ArchivedImage((layer,), ("classic:1",))])
    once = [*members.items(), ("linked", Link(digest_of(layer).removeprefix("sha256:") + "/layer.tar"))]
    assert load_image(engine, make_tar([*once, *once])) == ["Loaded image: classic:1\n"]


@pytest.mark.parametrize("document", ["index.json", "manifest.json"])
def test_documents_may_have_many_megabytes(engine: Engine, document: str) -> None:
    if document == "index.json":
        members = simple_layout().members()
        index = json.loads(members[document] or b"")  # type: ignore[arg-type]
        members[document] = to_json({**index, "annotations": {"note": "x" * (5 << 20)}})
    else:
        members = docker_archive_members([ArchivedImage((make_layer(),), ("simple:latest",))])
        (entry,) = json.loads(members[document] or b"")  # type: ignore[arg-type]
        members[document] = to_json([{**entry, "Note": "x" * (5 << 20)}])
    assert load_image(engine, make_tar(members)) == ["Loaded image: simple:latest\n"]


def test_layer_that_is_here_compressed_is_used_so(engine: Engine) -> None:
    layout = Layout()
    layout.tag(layout.image([make_layer("base")]), "docker.io/library/base:1")
    load_image(engine, layout.to_tar())
    load_image(engine, docker_archive(ArchivedImage((make_layer("base"),), ("classic:1",))))
    assert digest_of(make_layer("base")) not in blobs(engine)
    assert layer_types(engine, "docker.io/library/classic:1") == [DOCKER_LAYER_GZIP]


def test_of_a_repeated_layer_that_is_here_compressed_the_last_is_used_so(engine: Engine) -> None:
    layout = Layout()
    layout.tag(layout.image([make_layer("base")]), "docker.io/library/base:1")
    load_image(engine, layout.to_tar())
    load_image(engine, docker_archive(ArchivedImage((make_layer("base"), make_layer("other"), make_layer("base")), ("classic:1",))))
    assert layer_types(engine, "docker.io/library/classic:1") == [DOCKER_LAYER, DOCKER_LAYER, DOCKER_LAYER_GZIP]


@pytest.mark.parametrize("compression", ["bzip2", "xz"])
def test_layer_that_is_here_compressed_as_registries_do_not_know_is_not_used(engine: Engine, compression: str) -> None:
    load_image(engine, with_compressed_layer("other:1", compression))
    load_image(engine, docker_archive(ArchivedImage((make_layer("one"),), ("classic:1",))))
    assert digest_of(make_layer("one")) in blobs(engine)
    assert layer_types(engine, "docker.io/library/classic:1") == [DOCKER_LAYER]


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
    signature = layout.manifest(
        layout.add(b"{}", "application/vnd.oci.empty.v1+json"), [layout.add(b"signed", "application/vnd.example.signature")]
    )
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
    images, stored = all_records(engine.metadata), blobs(engine)
    assert load_image(engine, archive) == first
    assert (all_records(engine.metadata), blobs(engine)) == (images, stored)


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


def test_an_image_with_many_names_is_read_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout()
    image = layout.image([make_layer()])
    for tag in range(300):
        layout.tag(image, f"docker.io/library/many:{tag}")
    read: list[Digest] = []

    def counting(engine: Engine, brought: set[Digest], target: Descriptor, **options: Any) -> list[ReadManifest]:
        read.append(target.digest)
        return read_graph(engine, brought, target, **options)

    monkeypatch.setattr("stowage.services.images.load.read_graph", counting)
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

    monkeypatch.setattr("stowage.services.store.batches.BATCH", 2)
    load_image(replace(engine, clock=looking_clock), layout.to_tar())
    assert given == {0, 2, 4}
    assert len(names(engine)) == 5
