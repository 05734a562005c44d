"""Hostile and broken archives: each a clear error, and a store that is as it was."""

from __future__ import annotations

import dataclasses
import io
import random
import tarfile
from collections.abc import Callable, Iterable

import pytest

from stowage.services.archive.bounds import Costs
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, InvalidDigest
from stowage.services.intake import archive_members
from tests.builders import (
    ArchivedImage,
    Layout,
    Link,
    blob_path,
    compress,
    digest_of,
    docker_archive_members,
    load_image,
    make_layer,
    make_tar,
    put_image,
    simple_layout,
    to_json,
)
from tests.engines import LIMITS, REQUEST_MEMORY
from tests.listings import all_records

Members = dict[str, bytes | Link | None]
IMAGE = ArchivedImage((make_layer("one"), make_layer("two")), ("broken:1",))


def docker_members(image: ArchivedImage = IMAGE) -> Members:
    return docker_archive_members([image])


def changed(members: Members, changes: Members) -> bytes:
    return make_tar({name: member for name, member in (members | changes).items() if member != b"REMOVED"})


def layout_with(changes: Members) -> bytes:
    return changed(simple_layout().members(), changes)


BLOB = "blobs/sha256/" + "0" * 64


def special(name: str, kind: bytes, link: str = "") -> bytes:
    """An archive with one member that is no file, before the image."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, link
    return header.tobuf(tarfile.USTAR_FORMAT) + simple_layout().to_tar()


def layer_member(label: str) -> str:
    return digest_of(make_layer(label)).removeprefix("sha256:") + "/layer.tar"


def config_member(members: Members) -> str:
    return next(name for name in members if name.endswith(".json") and name != "manifest.json")


def without_config() -> bytes:
    members = docker_members()
    return changed(members, {config_member(members): b"REMOVED"})


def oversized_config() -> bytes:
    members = docker_members()
    return changed(members, {config_member(members): b" " * (5 << 20)})


def garbage_config() -> bytes:
    members = docker_members()
    return changed(members, {config_member(members): b"garbage"})


def garbage_config_and_missing_layer() -> bytes:
    members = docker_members()
    return changed(members, {config_member(members): b"garbage", layer_member("two"): b"REMOVED"})


def lying_blob() -> bytes:
    layout = simple_layout()
    victim = next(digest for digest, blob in layout.blobs.items() if blob.startswith(b"\x1f\x8b"))
    return layout_with({blob_path(victim): compress(make_layer("another"), "gzip")})


def missing_blob() -> bytes:
    layout = simple_layout()
    victim = next(digest for digest, blob in layout.blobs.items() if blob.startswith(b"\x1f\x8b"))
    return layout_with({blob_path(victim): b"REMOVED"})


def index_with(**entry: object) -> Members:
    layout = simple_layout()
    return {"index.json": to_json({"schemaVersion": 2, "manifests": [{**layout.manifests[0], **entry}]})}


def twice(name: str, content: bytes) -> bytes:
    return make_tar([*simple_layout().members().items(), (name, content)])


ARCHIVES = [
    pytest.param(lambda: b"", "unrecognized image format", id="empty"),
    pytest.param(lambda: b"this is not a tar file" * 100, "archive/tar: invalid tar header", id="garbage"),
    pytest.param(lambda: make_tar({"etc/passwd": b"root"}), "unrecognized image format", id="a root file system"),
    pytest.param(lambda: simple_layout().to_tar()[:3000], "unexpected EOF", id="cut in a member"),
    pytest.param(lambda: compress(simple_layout().to_tar(), "gzip")[:300], "unexpected end", id="gzip cut"),
    pytest.param(lambda: compress(simple_layout().to_tar(), "zstd")[:300], "unexpected end", id="zstd cut"),
    pytest.param(lambda: changed(docker_members(), {"manifest.json": b"REMOVED"}), "unrecognized image format", id="repositories alone"),
    pytest.param(
        lambda: changed(docker_members(), {"manifest.json": b"{not json"}),
        'untar manifest "manifest.json": invalid character',
        id="manifest.json is not JSON",
    ),
    pytest.param(
        lambda: changed(docker_members(), {"manifest.json": b" " * (21 << 20)}),
        "larger than 20971520 bytes",
        id="manifest.json over 20 MiB",
    ),
    pytest.param(
        lambda: layout_with({"index.json": b"[" + b"{}," * (1 << 18) + b"{}]"}), "more than 524288 values", id="index.json of little values"
    ),
    pytest.param(without_config, 'image config "[0-9a-f]{64}.json" not found', id="missing config"),
    pytest.param(oversized_config, "is larger than 4194304 bytes", id="config over 4 MiB"),
    pytest.param(
        garbage_config, "unable to resolve platform: invalid character 'g' looking for beginning of value", id="config is not JSON"
    ),
    pytest.param(garbage_config_and_missing_layer, "failed to resolve layers", id="config is not JSON and a layer is missing"),
    pytest.param(
        lambda: changed(docker_members(), {layer_member("two"): b"REMOVED"}),
        'failed to resolve layers: layer "[^"]+" not found',
        id="missing layer",
    ),
    pytest.param(
        lambda: changed(docker_members(), {layer_member("two"): Link("../nowhere/layer.tar")}),
        "no target for symlink layer",
        id="link to nothing",
    ),
    pytest.param(
        lambda: changed(docker_members(), {layer_member("two"): Link("../../../etc/passwd")}),
        "a symbolic link to",
        id="link out of the archive",
    ),
    pytest.param(lambda: changed(docker_members(), {layer_member("two"): Link("/etc/passwd")}), "a symbolic link to", id="absolute link"),
    pytest.param(
        lambda: changed(docker_members(dataclasses.replace(IMAGE, diff_ids=(digest_of(b"x"), digest_of(b"y")))), {}),
        "wrong diff id",
        id="wrong diff_ids",
    ),
    pytest.param(
        lambda: changed(docker_members(dataclasses.replace(IMAGE, tags=("UPPER:1",))), {}),
        'normalize image ref "UPPER:1"',
        id="name in capitals",
    ),
    pytest.param(lambda: layout_with({"oci-layout": b'{"imageLayoutVersion":"9"}'}), "unsupported OCI version 9", id="layout version"),
    pytest.param(lambda: layout_with({"index.json": b"REMOVED"}), "missing index.json in OCI layout 1.0.0", id="no index.json"),
    pytest.param(lambda: layout_with({"index.json": b"[]"}), "json: cannot unmarshal array", id="index.json is no object"),
    pytest.param(
        lambda: layout_with({"index.json": b'{"schemaVersion":2,"manifests":[]}'}), "image might be filtered out", id="no entries"
    ),
    pytest.param(lambda: layout_with(index_with(digest="sha256:../../../etc/passwd")), "invalid checksum digest", id="digest that climbs"),
    pytest.param(lambda: layout_with(index_with(digest="sha256:" + "A" * 64)), "invalid checksum digest", id="digest in capitals"),
    pytest.param(lambda: layout_with(index_with(digest="md5:" + "a" * 32)), "unsupported digest algorithm", id="unknown algorithm"),
    pytest.param(lambda: layout_with(index_with(size=1)), "unexpected size", id="wrong size in index.json"),
    pytest.param(
        lambda: layout_with(index_with(mediaType="application/vnd.oci.image.layer.v1.tar")),
        "unsupported media type",
        id="a layer in index.json",
    ),
    pytest.param(
        lambda: layout_with(index_with(annotations={"io.containerd.image.name": f"docker.io/library/a@{digest_of(b'other')}"})),
        "in the archive has another digest",
        id="name with another digest",
    ),
    pytest.param(lying_blob, 'failed to ingest "blobs/sha256/[0-9a-f]{64}": unexpected commit digest', id="lying blob"),
    pytest.param(missing_blob, "missing blob sha256:", id="missing blob"),
    pytest.param(lambda: layout_with({"../../../../escaped": b"escaped"}), "the name leads out of the archive", id="name that climbs"),
    pytest.param(lambda: layout_with({"a/../index.json": b"{}"}), "the name leads out of the archive", id="name with dots inside"),
    pytest.param(lambda: layout_with({"/../index.json": b"{}"}), "the name leads out of the archive", id="absolute name that climbs"),
    pytest.param(
        lambda: special("index.json", tarfile.SYMTYPE, "blobs/sha256/x"),
        'refusing "index.json": a symbolic link',
        id="index.json is a link",
    ),
    pytest.param(
        lambda: special("manifest.json", tarfile.SYMTYPE, "x"), 'refusing "manifest.json": a symbolic link', id="manifest.json is a link"
    ),
    pytest.param(lambda: special("x", tarfile.LNKTYPE, "index.json"), 'refusing "x": a hard link', id="hard link"),
    pytest.param(lambda: special("x\udcff", tarfile.LNKTYPE, "index.json"), r'refusing "x\\xff": a hard link', id="name that is no UTF-8"),
    pytest.param(lambda: special("x", tarfile.CHRTYPE), 'refusing "x": a device or pipe', id="device"),
    pytest.param(lambda: special("x", tarfile.GNUTYPE_SPARSE), 'refusing "x": a sparse file', id="sparse file"),
    pytest.param(lambda: special("x", tarfile.FIFOTYPE), 'refusing "x": a device or pipe', id="pipe"),
    pytest.param(lambda: special(BLOB, b"Z"), f'refusing "{BLOB}": a member of an unknown type', id="blob of an unknown type"),
    pytest.param(lambda: special(BLOB, tarfile.SYMTYPE, "../../z"), f'refusing "{BLOB}": a symbolic link', id="blob that is a link"),
    pytest.param(lambda: twice("index.json", b"{}"), "occurs twice", id="index.json twice"),
    pytest.param(lambda: twice("./index.json", b"{}"), "occurs twice", id="index.json twice, spelt differently"),
    pytest.param(
        lambda: make_tar([*docker_members().items(), (layer_member("one"), make_layer("evil"))]),
        "occurs twice",
        id="layer twice with other content",
    ),
    pytest.param(lambda: twice("oci-layout", b"{}"), "occurs twice", id="oci-layout twice"),
    pytest.param(
        lambda: make_tar([*docker_members().items(), (layer_member("one"), Link("../x"))]), "occurs twice", id="layer that is a link too"
    ),
]


@pytest.mark.parametrize(("make", "words"), ARCHIVES)
def test_refuses_and_leaves_nothing(engine: Engine, make: Callable[[], bytes], words: str) -> None:
    with pytest.raises((InvalidContent, InvalidDigest), match=words):
        load_image(engine, make())
    assert list(engine.content.blobs()) == []
    assert list(engine.content.partials()) == []
    assert all_records(engine.metadata) == ()
    assert engine.memory.free == REQUEST_MEMORY


def test_a_broken_image_keeps_its_whole_neighbour_out_too(engine: Engine) -> None:
    layout = simple_layout()
    layout.tag({**layout.manifests[0], "digest": digest_of(b"absent")}, "docker.io/library/absent:1")
    with pytest.raises(InvalidContent, match="missing blob"):
        load_image(engine, layout.to_tar())
    assert all_records(engine.metadata) == ()


def test_refused_archive_moves_no_name_and_removes_no_blob(engine: Engine) -> None:
    put_image(engine, "simple")
    before, blobs = all_records(engine.metadata), sorted(engine.content.blobs())
    layout = simple_layout(label="other")
    layout.without(layout.manifests[0])
    with pytest.raises(InvalidContent, match="missing blob"):
        load_image(engine, layout.to_tar())
    assert all_records(engine.metadata) == before
    assert sorted(engine.content.blobs()) == blobs


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_bomb_around_the_archive(engine: Engine, compression: str) -> None:
    bounded = dataclasses.replace(engine, limits=dataclasses.replace(LIMITS, decompression_ratio=20, decompression_bytes=1 << 20))
    with pytest.raises(InvalidContent, match="bomb"):
        load_image(bounded, compress(make_tar({"zeros": bytes(8 << 20)}), compression))
    assert list(engine.content.blobs()) == []
    assert engine.memory.free == REQUEST_MEMORY


def test_bomb_as_a_layer(engine: Engine) -> None:
    bounded = dataclasses.replace(engine, limits=dataclasses.replace(LIMITS, decompression_ratio=20, decompression_bytes=1 << 20))
    layout = Layout()
    layout.tag(layout.image([make_tar({"zeros": bytes(8 << 20)})]))
    with pytest.raises(InvalidContent, match="bomb"):
        load_image(bounded, layout.to_tar())
    assert list(engine.content.blobs()) == []


def many_layers(contents: Iterable[bytes], compression: str) -> bytes:
    """An archive of one image, each of whose compressed layers holds a file like this."""
    layout = Layout()
    layout.tag(layout.image([make_tar({str(number): content}) for number, content in enumerate(contents)]))
    archive = layout.to_tar()
    return compress(archive, compression) if compression else archive


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_many_layers_that_are_a_bomb_together(engine: Engine, compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inflated: list[int] = []
    count = Costs.inflate

    def watched(inflation: Costs, size: int) -> None:
        inflated.append(size)
        count(inflation, size)

    monkeypatch.setattr(Costs, "inflate", watched)
    bounded = dataclasses.replace(engine, limits=dataclasses.replace(LIMITS, decompression_ratio=20, decompression_bytes=1 << 20))
    with pytest.raises(InvalidContent, match="compressed streams hold more than 20 times the size of what was sent: refused as a bomb"):
        load_image(bounded, many_layers([bytes(600_000)] * 30, compression))
    assert sum(inflated) <= 2 << 20
    assert list(engine.content.blobs()) == []


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_many_layers_that_are_large_together(engine: Engine, compression: str) -> None:
    bounded = dataclasses.replace(engine, limits=dataclasses.replace(LIMITS, decompression_ratio=20, decompression_bytes=1 << 20))
    contents = [bytes(500_000) + random.Random(number).randbytes(100_000) for number in range(5)]
    assert len(load_image(bounded, many_layers(contents, compression))) == 1


def test_flood_of_long_names(engine: Engine) -> None:
    names = [str(number) * (1 << 20) for number in range(9)]
    flood = make_tar({name[:-turn]: b"" for name in names for turn in range(10, 15)}, tar_format=tarfile.GNU_FORMAT)
    with pytest.raises(InvalidContent, match="its extensions are too many or too long"):
        load_image(engine, flood)


def test_members_without_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_members, "_MEMORY_BYTES", 10_000)
    with pytest.raises(InvalidContent, match="the archive has too many members"):
        load_image(engine, make_tar({f"member{number}": b"" for number in range(50)}))


def test_folders_without_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_members, "_MEMORY_BYTES", 10_000)
    flood = io.BytesIO()
    with tarfile.open(fileobj=flood, mode="w") as archive:
        for number in range(50):
            folder = tarfile.TarInfo(f"folder{number}")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
    with pytest.raises(InvalidContent, match="the archive has too many members"):
        load_image(engine, flood.getvalue())
