"""Import: what becomes of each kind of archive, and that a bad one leaves nothing."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, cast

import pytest

from stowage.services.budget import Budget
from stowage.services.content.protocol import Ingest
from stowage.services.engine import Engine
from stowage.services.errors import EngineError, Forbidden, InvalidContent, InvalidParameter, NotFound, OutOfSpace, RegistryFailure
from stowage.services.images.import_ import import_image, import_url
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from stowage.services.progress import Progress
from tests.builders import Link, compress, make_tar
from tests.engines import LIMITS, downloads

STORAGES = ["folder", "s3"]

CLOCK = 1_700_000_000_123_456_789
BIG = bytes(range(256)) * 4096 * 5
ROOTFS = make_tar({"bin/": None, "bin/sh": b"#!", "big": BIG})
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


class Dribble:
    """A source that gives fewer bytes than it is asked for."""

    def __init__(self, content: bytes, step: int) -> None:
        self._content, self._step = io.BytesIO(content), step

    def read(self, size: int, /) -> bytes:
        return self._content.read(min(size, self._step))


@pytest.fixture
def fixed(engine: Engine) -> Engine:
    """The engine at one instant."""
    return dataclasses.replace(engine, clock=lambda: CLOCK)


def take(engine: Engine, content: bytes, **options: Any) -> Digest:
    steps = import_image(engine, io.BytesIO(content), **({"message": "Imported from -"} | options))
    lines = [line for line in steps if line != Progress()]
    assert len(lines) == 1
    return Digest.parse(lines[0].status)


def read(engine: Engine, digest: Digest | str) -> bytes:
    return engine.content.read(digest if isinstance(digest, Digest) else Digest.parse(digest))


def manifest_of(engine: Engine, image: Digest) -> Any:
    return json.loads(read(engine, image))


def layer_of(engine: Engine, image: Digest) -> tuple[str, bytes]:
    layer = manifest_of(engine, image)["layers"][0]
    return layer["mediaType"], read(engine, layer["digest"])


def tar_of(engine: Engine, image: Digest) -> bytes:
    """The tar in the image's only layer, which is gzip."""
    return gzip.decompress(layer_of(engine, image)[1])


class Unread:
    """A source that must not be read."""

    def read(self, size: int, /) -> bytes:
        raise AssertionError("the body was read")


def assert_empty(engine: Engine) -> None:
    with engine.metadata.read() as tx:
        assert tx.graph.all_blobs() == {}
        assert tx.images.count() == 0
    assert list(engine.content.blobs()) == []
    assert list(engine.content.partials()) == []


@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2"])
def test_an_import_that_is_closed_in_the_archive_leaves_nothing(engine: Engine, compression: str) -> None:
    archive = compress(make_tar({f"file{number}": b"x" for number in range(100)}), compression)
    importing = import_image(engine, io.BytesIO(archive), message="")
    assert next(importing) == Progress()
    importing.close()
    assert_empty(engine)


def test_changes_that_make_too_large_a_config_are_refused_before_the_archive_is_read(engine: Engine) -> None:
    changes = ["EXPOSE 0-65535 0-65535/udp 0-65535/sctp"]
    with pytest.raises(InvalidParameter, match="^the changes make an image config that is larger than 4194304 bytes$"):
        list(import_image(engine, Unread(), message="x" * 2_000_000, changes=changes))


def test_what_ports_take_is_part_of_the_memory_of_requests(engine: Engine) -> None:
    small = dataclasses.replace(engine, memory=Budget(32 << 20))
    with pytest.raises(Forbidden, match="STOWAGE_REQUEST_MEMORY allows"):
        list(import_image(small, Unread(), message="", changes=["EXPOSE 0-65535 0-65535/udp 0-65535/sctp"]))
    assert small.memory.free == 32 << 20


def test_documents_are_those_that_moby_writes(fixed: Engine) -> None:
    content = compress(ROOTFS, "gzip")
    image = take(fixed, content, changes=["CMD sh", "ENV A=<b>"], message="from & to")
    diff_id, layer = Digest.of(ROOTFS), Digest.of(content)
    config = (
        '{"created":"2023-11-14T22:13:20.123456789Z","architecture":"amd64","os":"linux",'
        f'"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}},'
        '"history":[{"created":"2023-11-14T22:13:20.123456789Z","comment":"from \\u0026 to"}],'
        '"config":{"Env":["A=\\u003cb\\u003e"],"Cmd":["/bin/sh","-c","sh"]}}'
    )
    manifest = (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        f'"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{Digest.of(config.encode())}","size":{len(config)}}},'
        f'"layers":[{{"mediaType":"{LAYER_GZIP}","digest":"{layer}","size":{len(content)}}}]}}'
    )
    assert read(fixed, image) == manifest.encode()
    assert read(fixed, Digest.of(config.encode())) == config.encode()


@pytest.mark.parametrize(("compression", "media_type"), [("gzip", LAYER_GZIP), ("zstd", LAYER_ZSTD)])
def test_a_compressed_layer_is_kept_as_it_came(engine: Engine, compression: str, media_type: str) -> None:
    content = compress(ROOTFS, compression)
    assert layer_of(engine, take(engine, content)) == (media_type, content)


@pytest.mark.parametrize("compression", ["none", "bzip2", "xz"])
def test_anything_else_becomes_gzip_of_the_same_tar(engine: Engine, compression: str) -> None:
    content = ROOTFS if compression == "none" else compress(ROOTFS, compression)
    image = take(engine, content)
    media_type, layer = layer_of(engine, image)
    assert media_type == LAYER_GZIP
    assert gzip.decompress(layer) == ROOTFS
    config = json.loads(read(engine, manifest_of(engine, image)["config"]["digest"]))
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(ROOTFS).hexdigest()]


@pytest.mark.parametrize("compression", ["none", "xz"])
@pytest.mark.parametrize("step", [1 << 16, 100_003])
def test_the_image_does_not_depend_on_how_the_archive_arrives(fixed: Engine, compression: str, step: int) -> None:
    content = ROOTFS if compression == "none" else compress(ROOTFS, compression)
    *_, line = import_image(fixed, Dribble(content, step), message="Imported from -")
    assert Digest.parse(line.status) == take(fixed, content)


def test_the_layer_has_its_facts(engine: Engine) -> None:
    image = take(engine, ROOTFS)
    layer = Digest.parse(manifest_of(engine, image)["layers"][0]["digest"])
    with engine.metadata.read() as tx:
        facts = tx.graph.layers([layer])[layer]
    assert (facts.diff_id, facts.size) == (Digest.of(ROOTFS), len(ROOTFS))


def test_an_image_without_a_name_is_dangling(engine: Engine) -> None:
    image = take(engine, ROOTFS)
    with engine.metadata.read() as tx:
        assert [record.name for record in tx.images.by_target(image)] == [f"moby-dangling@{image}"]


def test_a_name_that_moves_leaves_its_old_image_dangling(engine: Engine) -> None:
    reference = Reference.parse("app:1")
    first, second = (take(engine, ROOTFS, reference=reference, message=text) for text in ("one", "two"))
    with engine.metadata.read() as tx:
        assert [record.name for record in tx.images.by_target(second)] == ["docker.io/library/app:1"]
        assert [record.name for record in tx.images.by_target(first)] == [f"moby-dangling@{first}"]


def test_the_platform_is_written_into_the_config(engine: Engine) -> None:
    image = take(engine, ROOTFS, platform=Platform(os="linux", architecture="arm", variant="v7"))
    config = json.loads(read(engine, manifest_of(engine, image)["config"]["digest"]))
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm", "v7")


@pytest.mark.parametrize(
    "archive", [b"", gzip.compress(b""), bytes(1024), make_tar({"a": b"x"})[:1024]], ids=["empty", "gzip of nothing", "zeros", "no end"]
)
def test_what_go_reads_as_a_tar_is_one(engine: Engine, archive: bytes) -> None:
    assert tar_of(engine, take(engine, archive)) == (gzip.decompress(archive) if archive.startswith(b"\x1f\x8b") else archive)


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_links_are_fine(engine: Engine, tar_format: int) -> None:
    members: dict[str, bytes | Link | None] = {"d" * 300 + "/f": b"x", "ü": b"y", "link": Link("t" * 300)}
    archive = make_tar(members, tar_format=tar_format)
    assert tar_of(engine, take(engine, archive)) == archive


def test_a_sparse_file_is_fine(engine: Engine) -> None:
    header = tarfile.TarInfo("sparse")
    header.type, header.size = b"S", 512
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[482] = 1
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
    archive = bytes(block) + bytes(512) + b"x" * 512 + bytes(1024)
    assert tar_of(engine, take(engine, archive)) == archive


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        pytest.param(b"hello world" * 100, "archive/tar: invalid tar header", id="garbage"),
        pytest.param(b"abc", "unexpected EOF", id="short garbage"),
        pytest.param(bytes(100), "unexpected EOF", id="short zeros"),
        pytest.param(gzip.compress(b"junk" * 1000), "archive/tar: invalid tar header", id="gzip of garbage"),
        pytest.param(compress(ROOTFS, "gzip")[:-6], "unexpected end", id="truncated gzip"),
        pytest.param(compress(ROOTFS, "gzip") + b"xxxx", "invalid gzip stream", id="garbage after gzip"),
        pytest.param(compress(ROOTFS, "zstd")[:-4], "unexpected end", id="truncated zstd"),
        pytest.param(compress(ROOTFS, "bzip2")[:-4], "unexpected end", id="truncated bzip2"),
        pytest.param(compress(ROOTFS, "xz")[:-4], "unexpected end", id="truncated xz"),
        pytest.param(b"x" + ROOTFS[1:], "archive/tar: invalid tar header", id="broken header"),
        pytest.param(ROOTFS[: 3 << 20], "unexpected EOF", id="truncated member"),
        pytest.param(make_tar({"a": b"x"})[:1024] + b"junk" * 500, "archive/tar", id="junk between members"),
    ],
)
def test_a_bad_archive_leaves_nothing(engine: Engine, archive: bytes, words: str) -> None:
    with pytest.raises(InvalidContent, match=f"invalid root file system archive: .*{words}"):
        take(engine, archive)
    assert_empty(engine)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "xz", "bzip2"])
def test_a_bomb_leaves_nothing(engine: Engine, compression: str) -> None:
    small = dataclasses.replace(engine, limits=dataclasses.replace(LIMITS, decompression_ratio=10, decompression_bytes=1 << 20))
    with pytest.raises(InvalidContent, match="refused as a bomb"):
        take(small, compress(make_tar({"zeros": bytes(8 << 20)}), compression))
    assert_empty(engine)


def test_a_bad_change_is_refused_before_the_archive_is_read(engine: Engine) -> None:
    source = io.BytesIO(ROOTFS)
    with pytest.raises(InvalidParameter, match="RUN is not a valid change command"):
        next(import_image(engine, source, message="", changes=["RUN x"]))
    assert source.tell() == 0
    assert_empty(engine)


class FullDisk:
    """A content store whose disk is full after so many bytes."""

    def __init__(self, store: Any, room: int) -> None:
        self._store, self._room = store, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def ingest(self, key: str, **options: Any) -> Any:
        return _FullIngest(self._store.ingest(key, **options), self._room)


class _FullIngest:
    def __init__(self, context: Any, room: int) -> None:
        self._context, self._room = context, room

    def __enter__(self) -> Ingest:
        self._ingest = self._context.__enter__()
        return cast("Ingest", self)

    def __exit__(self, *details: object) -> Any:
        return self._context.__exit__(*details)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ingest, name)

    def write(self, chunk: bytes) -> None:
        self._room -= len(chunk)
        if self._room < 0:
            raise OutOfSpace("no space left on device")
        self._ingest.write(chunk)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_full_disk_is_told_and_leaves_nothing(engine: Engine, compression: str) -> None:
    noise = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(1 << 17))
    archive = make_tar({"noise": noise})
    full = dataclasses.replace(engine, content=cast("Any", FullDisk(engine.content, 2 << 20)))
    with pytest.raises(OutOfSpace):
        take(full, archive if compression == "none" else compress(archive, compression))
    assert_empty(engine)


@pytest.fixture
def server() -> Iterator[str]:
    """A web server on loopback; gives its `host:port`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = _answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()


def _answer(path: str) -> tuple[int, dict[str, str], bytes]:
    match path.split("?")[0]:
        case "/rootfs.tar":
            return 200, {"Content-Length": str(len(ROOTFS))}, ROOTFS
        case "/cut":
            return 200, {"Content-Length": str(len(ROOTFS))}, ROOTFS[:100_000]
        case "/moved":
            return 302, {"Location": "/rootfs.tar"}, b""
        case "/loop":
            return 302, {"Location": "/loop"}, b""
        case "/metadata":
            return 302, {"Location": "http://169.254.169.254/latest"}, b""
        case "/file":
            return 302, {"Location": "file:///etc/passwd"}, b""
        case "/denied":
            return 403, {}, b" not for you\n"
    return 404, {}, b"nothing here"


@pytest.fixture
def fetching(engine: Engine) -> Engine:
    """An engine that imports from URLs on loopback."""
    return dataclasses.replace(engine, imports=downloads("127.0.0.0/8"))


def fetch(engine: Engine, url: str) -> list[Progress]:
    return list(import_url(engine, url, message=f"Imported from {url}"))


@pytest.mark.parametrize("path", ["rootfs.tar", "rootfs.tar?a=b", "moved"])
def test_import_from_a_url(fetching: Engine, server: str, path: str) -> None:
    lines = fetch(fetching, f"{server}/{path}")
    assert lines[0] == Progress(status=f"Downloading from http://{server}/{path}")
    assert [line.status for line in lines[1:-1]] == ["Importing"] * (len(lines) - 2)
    assert lines[-2].detail is not None
    assert (lines[-2].detail.current, lines[-2].detail.total) == (len(ROOTFS), len(ROOTFS))
    assert gzip.decompress(layer_of(fetching, Digest.parse(lines[-1].status))[1]) == ROOTFS


def test_a_url_is_refused_unless_the_setting_allows_it(engine: Engine, server: str) -> None:
    with pytest.raises(Forbidden, match="STOWAGE_IMPORT_URLS"):
        fetch(engine, f"http://{server}/rootfs.tar")


def test_a_download_that_breaks_off_leaves_nothing(fetching: Engine, server: str) -> None:
    progress = import_url(fetching, f"{server}/cut", message="")
    assert next(progress).status.startswith("Downloading")
    with pytest.raises(InvalidContent, match="^unexpected EOF$"):
        list(progress)
    assert_empty(fetching)


def test_a_cancelled_import_leaves_nothing(fetching: Engine, server: str) -> None:
    progress = import_url(fetching, f"{server}/rootfs.tar", message="")
    next(progress)
    cast("Any", progress).close()
    assert_empty(fetching)


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        pytest.param("/none", NotFound, "failed to GET .*/none with status 404 Not Found: nothing here", id="missing"),
        pytest.param("/denied", Forbidden, "with status 403 Forbidden: not for you$", id="denied"),
        pytest.param("/loop", EngineError, "stopped after 10 redirects", id="redirects without end"),
        pytest.param("/metadata", Forbidden, "does not cover its address 169.254.169.254", id="redirect to an address not allowed"),
        pytest.param("/file", RegistryFailure, "unsupported protocol scheme", id="redirect to a file"),
    ],
)
def test_what_a_server_refuses(fetching: Engine, server: str, path: str, kind: type[EngineError], words: str) -> None:
    with pytest.raises(kind, match=words):
        fetch(fetching, server + path)
    assert_empty(fetching)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_large_file_is_taken_in_steps(engine: Engine, compression: str) -> None:
    """Between which a client that leaves is noticed."""
    archive = compress(make_tar({"zeros": bytes(20 << 20)}), compression)
    steps = import_image(engine, io.BytesIO(archive), message="")
    assert [next(steps) for _ in range(15)] == [Progress()] * 15
    steps.close()
