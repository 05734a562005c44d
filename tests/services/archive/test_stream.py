"""Telling a compression and reading through it."""

from __future__ import annotations

import io

import pytest

from stowage.services.archive.stream import uncompressed
from stowage.services.errors import InvalidContent
from tests.builders import compress
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
