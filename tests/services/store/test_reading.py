"""Blobs that are given away: the last bytes only when all of them are right."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.errors import BlobNotFound, Damaged, Internal, InvalidContent
from stowage.services.gc.leases import hold
from stowage.services.intake.ingest import store_blob
from stowage.services.oci.digest import Digest
from stowage.services.store.reading import open_verified, read_document, refuse_damaged
from tests.damage import blob_file, damages, flip, lose, shorten

CONTENT = b"what a blob holds " * 100_000
PIECE = 300_000


@pytest.fixture
def digest(engine: Engine) -> Iterator[Digest]:
    with hold(engine.metadata, engine.content, "test") as lease:
        yield store_blob(engine, lease, [CONTENT]).digest


def pieces(engine: Engine, digest: Digest, *, offset: int = 0) -> Iterator[bytes]:
    with open_verified(engine, digest, len(CONTENT)) as blob:
        assert blob.seek(offset) == offset
        while piece := blob.read(PIECE):
            yield piece


@pytest.mark.parametrize("offset", [0, 1, PIECE, len(CONTENT) - 1])
def test_a_sound_blob_is_read_from_any_offset(engine: Engine, digest: Digest, offset: int) -> None:
    assert b"".join(pieces(engine, digest, offset=offset)) == CONTENT[offset:]


def test_a_blob_can_be_read_again(engine: Engine, digest: Digest) -> None:
    with open_verified(engine, digest, len(CONTENT)) as blob:
        for _ in range(2):
            blob.seek(0)
            assert blob.read(len(CONTENT)) == CONTENT
            assert blob.read(1) == b""


@pytest.mark.parametrize("offset", [0, PIECE, len(CONTENT) - 1])
def test_the_last_bytes_of_a_damaged_blob_are_withheld(engine: Engine, digest: Digest, offset: int) -> None:
    flip(blob_file(engine, digest))
    given: list[bytes] = []
    giving = map(given.append, pieces(engine, digest, offset=offset))
    with pytest.raises(Damaged, match=f"blob {digest} holds other bytes: their digest is .*; load or pull the image again"):
        list(giving)
    assert len(b"".join(given)) == (len(CONTENT) - offset - 1) // PIECE * PIECE
    assert damages(engine).keys() == {digest}


def test_a_blob_of_another_size_is_not_given_and_not_marked(engine: Engine, digest: Digest) -> None:
    """The size may be that of a descriptor that lies."""
    with pytest.raises(Damaged, match="bytes instead of 7"), open_verified(engine, digest, 7):
        pytest.fail("was opened")
    assert damages(engine) == {}


class Broken(io.BytesIO):
    """A file on a disk that does not give its last bytes."""

    def read(self, _size: int | None = -1, /) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


class BrokenStore(FilesystemStore):
    def open(self, _digest: Digest) -> BinaryIO:
        return cast("BinaryIO", Broken(CONTENT))


def test_what_the_disk_does_not_give_is_an_error_and_no_mark(engine: Engine, digest: Digest, tmp_path: Path) -> None:
    failing = replace(engine, content=BrokenStore(tmp_path / "root"))
    with pytest.raises(Internal, match="Input/output error") as raised:
        list(pieces(failing, digest))
    assert not isinstance(raised.value, Damaged)
    assert damages(engine) == {}


def test_a_document_is_verified(engine: Engine, digest: Digest) -> None:
    assert read_document(engine, digest) == CONTENT
    flip(blob_file(engine, digest))
    with pytest.raises(Damaged, match="holds other bytes"):
        read_document(engine, digest)
    assert damages(engine).keys() == {digest}
    lose(blob_file(engine, digest))
    with pytest.raises(BlobNotFound):
        read_document(engine, digest)


def test_what_is_too_large_for_a_document_is_not_read(engine: Engine, digest: Digest, tmp_path: Path) -> None:
    unreadable = replace(engine, content=BrokenStore(tmp_path / "root"))
    words = f"^document {digest} of {len(CONTENT)} bytes is larger than {len(CONTENT) - 1} bytes$"
    with pytest.raises(InvalidContent, match=words):
        read_document(unreadable, digest, most=len(CONTENT) - 1)
    assert read_document(engine, digest, most=len(CONTENT)) == CONTENT


def test_only_what_has_a_row_is_refused_as_damaged(engine: Engine, digest: Digest) -> None:
    refuse_damaged(engine, [Digest.of(b"absent")])
    shorten(blob_file(engine, digest))
    with pytest.raises(Damaged, match=f"blob {digest} has {len(CONTENT) - 1} bytes instead of {len(CONTENT)}; load or pull"):
        refuse_damaged(engine, [Digest.of(b"absent"), digest])
