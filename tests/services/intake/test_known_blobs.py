"""What an archive or a list says that another store has."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from contextlib import closing
from dataclasses import replace

import pytest

from stowage.services.archive.bounds import Costs
from stowage.services.budget import Budget
from stowage.services.engine import Engine
from stowage.services.errors import Forbidden, InvalidContent
from stowage.services.intake import known_blobs
from stowage.services.intake.known_blobs import read_known_blobs
from tests.builders import ArchivedImage, Layout, blob_path, digest_of, docker_archive, layers_of, make_layer, make_tar, simple_layout

ONE, TWO = (digest_of(text) for text in (b"one", b"two"))


def known(engine: Engine, content: bytes) -> set[str]:
    with closing(Costs(engine.memory)) as costs:
        return {str(digest) for digest in read_known_blobs(engine, io.BytesIO(content), costs)}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_blobs_of_an_oci_layout(engine: Engine, pack: type[bytes]) -> None:
    layout = simple_layout()
    assert known(engine, pack(layout.to_tar())) == set(layout.blobs)


def test_the_blobs_of_a_docker_archive_are_what_its_members_hash_to(engine: Engine) -> None:
    layer = make_layer("one")
    assert digest_of(layer) in known(engine, docker_archive(ArchivedImage((layer,), ("one:1",))))


def test_an_archive_without_layers_is_known_to_need_them(engine: Engine) -> None:
    layout = Layout()
    image = layout.image([make_layer("one"), make_layer("two")])
    layout.tag(image)
    whole = set(layout.blobs)
    for layer in layers_of(layout, image):
        del layout.blobs[layer["digest"]]
    assert known(engine, layout.to_tar()) == whole


def test_a_manifest_saved_without_its_content_says_nothing_of_it(engine: Engine) -> None:
    layout = Layout()
    image = layout.image([make_layer("one")])
    layout.tag(image)
    alone = {image["digest"]: layout.blobs[image["digest"]]}
    layout.blobs = alone
    assert known(engine, layout.to_tar()) == {image["digest"]}


def test_a_list_has_digests_or_the_members_that_tar_lists(engine: Engine) -> None:
    lines = ["# what is there", ONE, "", "blobs/", "blobs/sha256/", f"  ./{blob_path(TWO)}\r", "index.json", "oci-layout", "manifest.json"]
    assert known(engine, "\n".join(lines).encode()) == {ONE, TWO}


def test_nothing_is_an_empty_list(engine: Engine) -> None:
    assert known(engine, b"") == set()


def test_a_long_list_is_read_in_pieces(engine: Engine) -> None:
    digests = {digest_of(str(number).encode()) for number in range(20_000)}
    assert known(engine, "\n".join(digests).encode()) == digests


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(f"{ONE}\ndebian:trixie\n".encode(), 'nor a list of digests: line 2 is "debian:trixie"', id="a name"),
        pytest.param(bytes(range(256)) * 40, "neither an archive of images nor a list of digests: line 1 is", id="something else"),
        pytest.param(b"a" * (3 << 20), "nor a list of digests: line 1 is", id="one long line"),
        pytest.param(make_tar({"etc/motd": b"hello"}), "without index.json and manifest.json", id="another tar"),
        pytest.param(bytes(10240), "without index.json and manifest.json", id="an empty tar"),
        pytest.param(simple_layout().to_tar()[:3000], "unexpected EOF", id="cut"),
        pytest.param(gzip.compress(f"{ONE}\n{TWO}".encode())[:40], "invalid gzip stream: unexpected end", id="cut and compressed"),
        pytest.param(make_tar({"index.json": b"{}", blob_path(ONE): b"two"}), "the archive is damaged", id="damaged"),
    ],
)
def test_what_cannot_be_used_is_refused(engine: Engine, content: bytes, words: str) -> None:
    with pytest.raises(InvalidContent, match=words):
        known(engine, content)


def test_what_is_held_in_memory_is_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_blobs, "MOST_BLOBS", 1)
    for content in (f"{ONE}\n{TWO}".encode(), simple_layout().to_tar()):
        with pytest.raises(InvalidContent, match="more than 1 blobs"):
            known(engine, content)


def test_what_is_known_takes_part_of_the_memory_of_requests(engine: Engine) -> None:
    lines = "\n".join(digest_of(b"%d" % number) for number in range(10_000))
    with pytest.raises(Forbidden, match="STOWAGE_REQUEST_MEMORY allows 1048576"):
        known(replace(engine, memory=Budget(1 << 20)), lines.encode())


def test_the_names_of_folders_are_not_kept(engine: Engine) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(2000):
            folder = tarfile.TarInfo("f" * 4000 + f"{number}")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
        archive.addfile(tarfile.TarInfo("index.json"))
    raw = buffer.getvalue()
    tracemalloc.start()
    assert known(engine, raw) == set()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2000 * 4000 // 2
