"""Telling a compression and reading through it."""

from __future__ import annotations

import io
import tarfile

import pytest

from stowage.services.archive.compression import Chunks, uncompressed
from stowage.services.archive.tar_reader import TarReader
from stowage.services.errors import InvalidContent
from tests.builders import compress, make_tar
from tests.engines import bounds

COMPRESSIONS = ["none", "gzip", "bzip2", "xz", "zstd"]


class Dribble:
    """A source that gives one to three bytes at a time."""

    def __init__(self, content: bytes) -> None:
        self._source = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        return self._source.read(min(size, 3))


def read_all(content: bytes, *, max_bytes: int = 1 << 30) -> bytes:
    with uncompressed(Dribble(content), bounds(10, max_bytes)) as read:
        return b"".join(iter(lambda: read(7), b""))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    "content", [pytest.param(b"", id="empty"), pytest.param(b"short", id="short"), pytest.param(b"0123456789" * 50, id="long")]
)
def test_gives_what_was_compressed(compression: str, content: bytes) -> None:
    assert read_all(compress(content, compression)) == content


@pytest.mark.parametrize("compression", COMPRESSIONS[1:])
def test_refuses_a_stream_that_is_cut(compression: str) -> None:
    with pytest.raises(InvalidContent, match="unexpected end"):
        read_all(compress(b"0123456789" * 50, compression)[:-5])


@pytest.mark.parametrize("compression", COMPRESSIONS[1:])
def test_refuses_a_bomb(compression: str) -> None:
    with pytest.raises(InvalidContent, match="bomb"):
        read_all(compress(bytes(1 << 20), compression), max_bytes=1 << 16)


@pytest.mark.parametrize("size", [1, 3, 511, 512, 4096])
def test_members_are_the_same_whether_their_content_is_read_or_skipped(size: int) -> None:
    archive = make_tar({"a": b"x" * 3000, "b/": None, "c": b"", "d" * 150: b"y" * 512, "e": b"z"}, tar_format=tarfile.GNU_FORMAT)
    source = Chunks(archive[start : start + size] for start in range(0, len(archive), size))
    assert list(TarReader(source.read, source.skip)) == list(TarReader(io.BytesIO(archive).read))


def test_skipped_content_that_ends_too_early_is_an_error() -> None:
    archive = make_tar({"a": b"x" * 3000})
    source = Chunks(iter([archive[:1000], archive[1000:3000]]))
    with pytest.raises(InvalidContent, match="^unexpected EOF$"):
        list(TarReader(source.read, source.skip))


def test_chunks_are_read_and_skipped_in_order() -> None:
    source = Chunks(iter([b"abc", b"", b"defg"]))
    assert [source.read(2), source.skip(5), source.skip(2), source.read(9), source.skip(1), source.read(1)] == [b"ab", 1, 2, b"fg", 0, b""]
