"""What is at a blob's or a partial's path and is no regular file: nothing is read from it or written through it, and it goes away."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.errors import BlobNotFound
from stowage.services.oci.digest import Digest
from tests.damage import NO_FILES, Spoil, folder, full_folder

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
        with ingest.locking():
            ingest.adopt()
        assert b"".join(ingest.resume()) in (b"", CONTENT)
        ingest.restart()
        ingest.write(CONTENT)
        ingest.commit(DIGEST)


def publish(store: FilesystemStore) -> None:
    with store.publish({DIGEST: CONTENT}) as published:
        assert published.keys() == {DIGEST}


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
        with ingest.locking():
            ingest.adopt()
        assert list(ingest.resume()) == []
        ingest.write(CONTENT)
        ingest.commit(DIGEST)
    assert_whole(store, other)


def test_a_partial_that_is_a_symlink_is_not_written_through(store: FilesystemStore, other: Path, tmp_path: Path) -> None:
    ingest = tmp_path / "ingest" / f"sha256-{DIGEST.hex}"
    ingest.mkdir()
    (ingest / "data").symlink_to(other)
    with store.ingest(f"{DIGEST}:beside") as beside:
        assert list(beside.resume()) == []
    bring(store)
    assert_whole(store, other)


def test_a_foreign_file_beside_a_partial_is_left_to_the_sweep(store: FilesystemStore, other: Path, tmp_path: Path) -> None:
    ingest = tmp_path / "ingest" / f"sha256-{DIGEST.hex}"
    ingest.mkdir()
    (ingest / "notes").write_text("not the store's")
    bring(store)
    assert [key for key, _, _ in store.partials()] == [str(DIGEST)]
    store.discard_partial(str(DIGEST))
    assert_whole(store, other)


def test_a_file_that_has_another_name_is_not_adopted(store: FilesystemStore, other: Path) -> None:
    os.link(other, place(other))
    with store.ingest(str(DIGEST)) as ingest:
        with ingest.locking():
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
    ingest = tmp_path / "ingest" / f"sha256-{DIGEST.hex}"
    ingest.mkdir()
    spoil(ingest / "data")
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
def test_what_is_no_file_is_no_blob_and_has_a_version(store: FilesystemStore, other: Path, spoil: Spoil) -> None:
    assert store.version(DIGEST) is None
    spoil(place(other))
    assert (store.size(DIGEST), store.modified(DIGEST)) == (None, None)
    version = store.version(DIGEST)
    assert version is not None
    assert store.version(DIGEST) == version
    assert list(store.blobs()) == [(Digest.of(OTHER), len(OTHER))]


@every_no_file
def test_it_is_deleted(store: FilesystemStore, other: Path, spoil: Spoil) -> None:
    spoil(place(other))
    with store.locked(DIGEST):
        store.delete([DIGEST])
    assert store.version(DIGEST) is None
    assert other.read_bytes() == OTHER
    assert list(store.partials()) == []


def test_what_a_symlink_leads_to_stays(store: FilesystemStore, other: Path, tmp_path: Path) -> None:
    full_folder(tmp_path / "users")
    folder(place(other))
    for target in (tmp_path / "users", other):
        (place(other) / target.name).symlink_to(target)
    store.delete([DIGEST])
    place(other).symlink_to(other)
    store.delete([DIGEST])
    (tmp_path / "ingest" / "abc").symlink_to(tmp_path / "users")
    assert list(store.partials()) == [("abc", 0, False)]
    store.discard_partial("abc")
    assert (tmp_path / "users" / "inner" / "file").exists()
    assert other.read_bytes() == OTHER
    assert list(store.partials()) == []


@every_no_file
def test_a_partial_goes_with_all_that_is_in_its_place(store: FilesystemStore, tmp_path: Path, spoil: Spoil) -> None:
    (tmp_path / "ingest" / "abc").mkdir()
    spoil(tmp_path / "ingest" / "abc" / "data")
    spoil(tmp_path / "ingest" / "def")
    assert sorted(store.partials()) == [("abc", 0, False), ("def", 0, False)]
    assert (store.partial_size("abc"), store.discard_partial("abc"), store.discard_partial("def")) == (0, 0, 0)
    assert list(store.partials()) == []


def test_what_cannot_be_removed_is_left_to_the_sweep(store: FilesystemStore, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_folder(place(other))
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", refuse)
        bring(store)
    [(key, _, held)] = store.partials()
    assert not held
    assert store.read(DIGEST) == CONTENT
    store.discard_partial(key)
    assert_whole(store, other)


def refuse(path: Path) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


@every_no_file
def test_small_blobs_do_so_too(store: FilesystemStore, other: Path, spoil: Spoil) -> None:
    spoil(place(other))
    publish(store)
    assert_whole(store, other)
