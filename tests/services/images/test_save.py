"""Archives out: the same bytes each time, loadable, and errors before the first byte."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable

import pytest

from stowage.services.content.object_store import S3Store
from stowage.services.engine import Engine
from stowage.services.errors import BlobNotFound, Conflict, EngineError, ImageNotFound, Internal, InvalidReference, NotFound
from stowage.services.gc.collector import collect_garbage
from stowage.services.images.save import save_images
from stowage.services.oci import mediatypes
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from tests.buckets import lose_blob
from tests.builders import (
    ArchivedImage,
    Json,
    Layout,
    blob_path,
    digest_of,
    docker_archive,
    load_image,
    make_config,
    make_layer,
    on_platform,
    partial_layout,
    put_image,
    simple_layout,
)
from tests.listings import all_records
from tests.services.images.archives import (
    AMD64,
    ARM64,
    S390X,
    chart,
    document,
    members,
    multi,
    nested,
    put_layout,
    save,
    zstd,
)

STORAGES = ["folder", "s3"]


def test_archive_of_one_image(engine: Engine) -> None:
    layout = simple_layout()
    digest = put_image(engine, "simple", layout)
    archive = save(engine, "simple:latest")
    manifest = json.loads(layout.blobs[str(digest)])
    blobs = {blob_path(digest): blob for digest, blob in layout.blobs.items()}
    assert members(archive) == {
        "blobs": None,
        "blobs/sha256": None,
        **blobs,
        "index.json": members(archive)["index.json"],
        "manifest.json": members(archive)["manifest.json"],
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
    }
    annotations = {"io.containerd.image.name": "docker.io/library/simple:latest", "org.opencontainers.image.ref.name": "latest"}
    descriptor = {
        "mediaType": mediatypes.OCI_MANIFEST,
        "digest": str(digest),
        "size": len(layout.blobs[str(digest)]),
        "annotations": annotations,
    }
    assert document(archive, "index.json") == {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [descriptor]}
    layers = [blob_path(layer["digest"]) for layer in manifest["layers"]]
    assert document(archive, "manifest.json") == [
        {"Config": blob_path(manifest["config"]["digest"]), "RepoTags": ["simple:latest"], "Layers": layers}
    ]


def test_members_are_sorted_and_have_no_time_or_owner(engine: Engine) -> None:
    put_image(engine, "simple")
    with tarfile.open(fileobj=io.BytesIO(save(engine, "simple"))) as opened:
        listed = opened.getmembers()
    assert [member.name for member in listed] == sorted(member.name for member in listed)
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in listed} == {(0, 0, 0, "")}
    modes = {member.name: member.mode for member in listed if not member.name.startswith("blobs/sha256/")}
    assert modes == {"blobs": 0o755, "blobs/sha256": 0o755, "index.json": 0o644, "manifest.json": 0o644, "oci-layout": 0o444}
    assert {member.mode for member in listed if member.name.startswith("blobs/sha256/")} == {0o444}


def test_nothing_is_an_empty_layout(engine: Engine) -> None:
    archive = save(engine)
    assert members(archive).keys() == {"index.json", "oci-layout"}
    assert document(archive, "index.json")["manifests"] == []


def several(engine: Engine) -> None:
    for name, label in (("a:1", "one"), ("a:2", "two"), ("b:1", "one")):
        put_image(engine, name, simple_layout(label=label))


@pytest.mark.parametrize(
    ("asked", "tags"),
    [
        pytest.param(["a:1"], [["a:1"]], id="a tag"),
        pytest.param(["a"], [["a:1"], ["a:2"]], id="a repository"),
        pytest.param(["docker.io/library/a"], [["a:1"], ["a:2"]], id="a repository in full"),
        pytest.param(["a:1", "b:1"], [["a:1", "b:1"]], id="two names of one image"),
        pytest.param(["a:2", "a:1"], [["a:2"], ["a:1"]], id="order as asked"),
    ],
)
def test_names(engine: Engine, asked: list[str], tags: list[list[str]]) -> None:
    several(engine)
    assert [entry["RepoTags"] for entry in document(save(engine, *asked), "manifest.json")] == tags


@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(str, id="ID"),
        pytest.param(lambda digest: digest.hex, id="ID without its algorithm"),
        pytest.param(lambda digest: digest.short, id="short ID"),
        pytest.param(lambda digest: f"a@{digest}", id="digest"),
        pytest.param(lambda digest: f"a:1@{digest}", id="tag and digest"),
    ],
)
def test_ids_and_digests_have_no_name(engine: Engine, spell: Callable[[Digest], str]) -> None:
    several(engine)
    digest = put_image(engine, "a:1", simple_layout(label="one"))
    archive = save(engine, spell(digest))
    assert [entry["RepoTags"] for entry in document(archive, "manifest.json")] == [None]
    assert ["annotations" in entry for entry in document(archive, "index.json")["manifests"]] == [False]


@pytest.mark.parametrize("make", [multi, nested, chart, zstd])
def test_every_kind_comes_back_whole(engine: Engine, make: Callable[[Layout], Json]) -> None:
    layout = put_layout(engine, "docker.io/library/any:1", make)
    blobs = {name: content for name, content in members(save(engine, "any:1")).items() if name.startswith("blobs/sha256/")}
    assert blobs == {blob_path(digest): blob for digest, blob in layout.blobs.items()}


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(simple_layout("docker.io/library/any:1").to_tar(), id="layout"),
        pytest.param(docker_archive(ArchivedImage((make_layer(),), ("any:1",))), id="docker-archive"),
        pytest.param(partial_layout("docker.io/library/any:1").to_tar(), id="partial index"),
    ],
)
def test_saved_deleted_and_loaded_is_the_same(engine: Engine, archive: bytes) -> None:
    load_image(engine, archive)
    images, saved = all_records(engine.metadata), save(engine, "any:1")
    with engine.metadata.write() as tx:
        tx.images.delete(["docker.io/library/any:1"])
    collect_garbage(engine.metadata, engine.content)
    assert list(engine.content.blobs()) == []
    load_image(engine, saved)
    assert [record.target.digest for record in all_records(engine.metadata)] == [record.target.digest for record in images]
    assert save(engine, "any:1") == saved


def test_foreign_layers_are_left_out(engine: Engine) -> None:
    layout = Layout()
    foreign: Json = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": digest_of(b"elsewhere"), "size": 9}
    config = layout.add_json(make_config([digest_of(b"unpacked")]), mediatypes.DOCKER_CONFIG)
    layout.tag(layout.manifest(config, [foreign], media_type=mediatypes.DOCKER_MANIFEST), "docker.io/library/windows:1")
    load_image(engine, layout.to_tar())
    archive = save(engine, "windows:1")
    assert blob_path(foreign["digest"]) not in members(archive)
    assert document(archive, "manifest.json")[0]["Layers"] == [blob_path(foreign["digest"])]


def put_doubled(engine: Engine) -> None:
    put_layout(
        engine,
        "docker.io/library/doubled:1",
        lambda layout: layout.index([on_platform(layout.image([make_layer(label)]), "linux/amd64") for label in ("a", "b")]),
    )


@pytest.mark.parametrize(
    ("name", "platforms", "error", "words"),
    [
        pytest.param("nope", [], ImageNotFound, "No such image: nope:latest", id="missing"),
        pytest.param("nope:1", [], ImageNotFound, "No such image: nope:1", id="missing tag"),
        pytest.param("partial:other", [], ImageNotFound, "No such image: partial:other", id="another tag"),
        pytest.param("a" * 64, [], ImageNotFound, f"No such image: sha256:{'a' * 64}", id="missing ID"),
        pytest.param("UPPER", [], InvalidReference, "invalid reference format: repository name "
                                                    "(library/UPPER) must be lowercase", id="malformed"),
        pytest.param(
            "partial:latest", [S390X], NotFound,
            "no suitable export target found: image with reference partial:latest was found "
            "but does not provide the specified platform (linux/s390x)",
            id="unknown platform",
        ),
        pytest.param(
            "partial:latest", [ARM64], NotFound,
            "no suitable export target found: image with reference partial:latest was found "
            "but does not provide the specified platform (linux/arm64/v8)",
            id="absent platform",
        ),
        pytest.param("partial:latest", [ARM64, S390X], NotFound, "no manifest found for platform: not found", id="absent platforms"),
        pytest.param(
            "doubled:1", [AMD64], Conflict, "no suitable export target found: multiple manifests "
                                            "found for platform linux/amd64", id="doubled platform"
        ),
    ],
)  # fmt: skip
def test_errors_come_before_the_first_byte(
    engine: Engine, name: str, platforms: list[Platform], error: type[EngineError], words: str
) -> None:
    load_image(engine, partial_layout().to_tar())
    put_doubled(engine)
    with pytest.raises(error) as refused:
        next(save_images(engine, ["partial:latest", name], platforms=platforms))
    assert str(refused.value) == words


def test_one_wrong_name_among_several_is_an_error(engine: Engine) -> None:
    put_image(engine, "simple")
    with pytest.raises(ImageNotFound):
        next(save_images(engine, ["simple", "nope"]))


@pytest.mark.parametrize("asked", [["index:1"], ["child:1", "index:1"], ["index:1", "child:1"]])
@pytest.mark.parametrize("platforms", [[], [ARM64]])
def test_sizes_are_those_of_the_blobs_whatever_an_index_says(engine: Engine, asked: list[str], platforms: list[Platform]) -> None:
    layout, child = Layout(), simple_layout("docker.io/library/child:1", platform="linux/arm64/v8")
    (listed,) = child.manifests
    lying = on_platform({"mediaType": listed["mediaType"], "digest": listed["digest"], "size": 10}, "linux/arm64/v8")
    layout.tag(layout.index([lying]), "docker.io/library/index:1")
    load_image(engine, layout.to_tar())
    load_image(engine, child.to_tar())
    archive = save(engine, *asked, platforms=platforms)
    content = members(archive)
    assert {blob_path(digest): blob for digest, blob in child.blobs.items()}.items() <= content.items()
    entries = document(archive, "index.json")["manifests"]
    assert {entry["size"] for entry in entries} <= {len(blob) for blob in content.values() if blob is not None}


def large_image(engine: Engine) -> bytes:
    layer = make_layer("large", 3 << 20)
    put_layout(engine, "docker.io/library/large:1", lambda layout: layout.image([layer], compression="none"))
    return layer


def test_image_removed_while_it_is_saved_comes_whole(engine: Engine) -> None:
    layer = large_image(engine)
    stream = save_images(engine, ["large:1"])
    pieces = [next(stream)]
    with engine.metadata.write() as tx:
        tx.images.delete(["docker.io/library/large:1"])
    collect_garbage(engine.metadata, engine.content)
    pieces.extend(stream)
    assert members(b"".join(pieces))[blob_path(digest_of(layer))] == layer
    assert list(engine.content.blobs()) == []


def test_chunks_are_bounded(engine: Engine) -> None:
    large_image(engine)
    assert max(len(piece) for piece in save_images(engine, ["large:1"])) <= 2 << 20


def test_a_blob_that_is_lost_on_the_way_breaks_the_stream(engine: Engine) -> None:
    layers = [make_layer(label, 3 << 20) for label in ("one", "two")]
    put_layout(engine, "docker.io/library/large:1", lambda layout: layout.image(layers, compression="none"))
    stream = save_images(engine, ["large:1"])
    next(stream)
    for layer in layers:
        lose_blob(engine.content, Digest.parse(digest_of(layer)))
    errors = (BlobNotFound, Internal) if isinstance(engine.content, S3Store) else (BlobNotFound,)  # that depends on what was read ahead
    with pytest.raises(errors, match="not found|gone from the bucket"):
        list(stream)


def test_closed_stream_lets_go_of_its_lease(engine: Engine) -> None:
    large_image(engine)
    stream = save_images(engine, ["large:1"])
    next(stream)
    stream.close()
    with engine.metadata.write() as tx:
        tx.images.delete(["docker.io/library/large:1"])
    collect_garbage(engine.metadata, engine.content)
    assert list(engine.content.blobs()) == []
