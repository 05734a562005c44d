"""What is at a blob's or a partial's path and is no regular file: nothing is read from it or written through it, and it goes away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.content.filesystem import FilesystemStore
from services.errors import BlobNotFound
from services.oci.digest import Digest
from tests.damage import NO_FILES, Spoil

CONTENT = b"what a blob holds"
OTHER = b"what another blob holds"
DIGEST = Digest.of(CONTENT)

every_no_file = pytest.mark.parametrize("spoil", NO_FILES.values(), ids=NO_FILES)


@pytest.fixture
def store(tmp_path: Path) -> FilesystemStore:
    return FilesystemStore(tmp_path)


@pytest.fixture
def other(store: FilesystemStore, tmp_path: Path) -> Path:
    """The file of another, good blob."""
    with store.ingest("other") as ingest:
        ingest.write(OTHER)
        digest = ingest.commit()
    return tmp_path / "blobs" / "sha256" / digest.hex


def place(other: Path) -> Path:
    """Where the file of the blob is to stand."""
    return other.with_name(DIGEST.hex)


def bring(store: FilesystemStore) -> None:
    """As a load does that finds no row."""
    with store.ingest(str(DIGEST)) as ingest:
        with ingest.settling():
            ingest.adopt()
        assert b"".join(ingest.resume()) in (b"", CONTENT)
        ingest.restart()
        ingest.write(CONTENT)
        ingest.commit(DIGEST)


def publish(store: FilesystemStore) -> None:
    with store.publish({DIGEST: CONTENT}) as published:
        assert published == {DIGEST}


def assert_whole(store: FilesystemStore, other: Path) -> None:
    """The two blobs are whole, and nothing else is there."""
    assert other.read_bytes() == OTHER
    assert not place(other).is_symlink()
    assert dict(store.blobs()) == {DIGEST: len(CONTENT), Digest.of(OTHER): len(OTHER)}
    assert store.read(DIGEST) == CONTENT
    assert list(store.partials()) == []


def test_another_blob_is_not_written_through_a_symlink(store: FilesystemStore, other: Path) -> None:
    place(other).symlink_to(other.name)
    with store.ingest(str(DIGEST)) as ingest:
        with ingest.settling():
            ingest.adopt()
        assert list(ingest.resume()) == []
        ingest.write(CONTENT)
        ingest.commit(DIGEST)
    assert_whole(store, other)


def test_a_partial_that_is_a_symlink_is_not_written_through(store: FilesystemStore, other: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ingest" / f"sha256-{DIGEST.hex}"
    folder.mkdir()
    (folder / "data").symlink_to(other)
    with store.ingest(f"{DIGEST}:beside") as beside:
        assert list(beside.resume()) == []
    bring(store)
    assert_whole(store, other)


def test_a_file_that_has_another_name_is_not_adopted(store: FilesystemStore, other: Path) -> None:
    os.link(other, place(other))
    with store.ingest(str(DIGEST)) as ingest:
        with ingest.settling():
            ingest.adopt()
        ingest.write(CONTENT)
        ingest.commit(DIGEST)
    assert_whole(store, other)


@every_no_file
def test_nothing_is_opened_but_a_file(store: FilesystemStore, other: Path, spoil: Spoil) -> None:
    spoil(place(other))
    with pytest.raises(BlobNotFound):
        store.open(DIGEST)


def test_a_symlink_to_a_good_file_is_no_blob(store: FilesystemStore, other: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(CONTENT)
    place(other).symlink_to(tmp_path / "copy")
    with pytest.raises(BlobNotFound):
        store.open(DIGEST)


@every_no_file
def test_a_partial_that_is_no_file_is_begun_again(store: FilesystemStore, other: Path, tmp_path: Path, spoil: Spoil) -> None:
    folder = tmp_path / "ingest" / f"sha256-{DIGEST.hex}"
    folder.mkdir()
    spoil(folder / "data")
    with store.ingest(f"{DIGEST}:beside") as beside:
        assert list(beside.resume()) == []
    bring(store)
    assert_whole(store, other)


@every_no_file
def test_a_blob_takes_the_place_of_what_is_no_file(store: FilesystemStore, other: Path, spoil: Spoil) -> None:
    spoil(place(other))
    bring(store)
    assert_whole(store, other)


@every_no_file
def test_small_blobs_do_so_too(store: FilesystemStore, other: Path, spoil: Spoil) -> None:
    spoil(place(other))
    publish(store)
    assert_whole(store, other)
