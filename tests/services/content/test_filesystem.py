"""What is particular to the store in a folder: its files, modes, foreign entries and the errors of its disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.errors import Internal, OutOfSpace
from stowage.services.files import storage_errors
from stowage.services.oci.digest import Digest

CONTENT = b"what a blob holds"
DIGEST = Digest.of(CONTENT)


def put(store: FilesystemStore, content: bytes = CONTENT) -> Digest:
    with store.ingest("put") as ingest:
        ingest.write(content)
        return ingest.commit()


def leave_partial(store: FilesystemStore) -> None:
    with store.ingest(str(DIGEST)) as ingest:
        ingest.write(CONTENT)
        ingest.keep()


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_a_file_beside_the_blobs_folders_is_passed_over(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    put(store)
    (tmp_path / "blobs/.DS_Store").touch()
    assert [digest for digest, _ in store.blobs()] == [DIGEST]


def test_the_layout_is_as_drawn(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    put(store)
    leave_partial(store)
    store.claim("an id")
    assert tree(tmp_path) == {"store-id", f"blobs/sha256/{DIGEST.hex}", f"ingest/sha256-{DIGEST.hex}/data"}
    assert (tmp_path / "store-id").read_text() == "an id\n"
    with store.locked(DIGEST):
        assert tree(tmp_path / "locks") == {f"sha256-{DIGEST.hex}.settle"}
    with store.ingest(str(DIGEST)), store.ingest(f"{DIGEST}:beside"):
        assert tree(tmp_path / "locks") == {f"sha256-{DIGEST.hex}", f"sha256-{DIGEST.hex}-beside"}
    assert tree(tmp_path / "locks") == set()


def test_folders_and_files_are_private(tmp_path: Path) -> None:
    root = tmp_path / "root"
    previous = os.umask(0)
    try:
        store = FilesystemStore(root)
        put(store)
        leave_partial(store)
        store.claim("an id")
    finally:
        os.umask(previous)
    paths = [root, *root.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o600}


def test_what_is_there_is_found_again(tmp_path: Path) -> None:
    put(FilesystemStore(tmp_path))
    assert FilesystemStore(tmp_path).read(DIGEST) == CONTENT


def test_an_id_that_a_killed_process_did_not_finish_is_none(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    (tmp_path / "store-id.new").write_text("an i")
    assert store.store_id() is None
    assert store.claim("another") == store.store_id() == "another"
    assert tree(tmp_path) == {"store-id"}


@pytest.mark.parametrize("content", [b"", b"\xff\n"], ids=["nothing", "no text"])
def test_a_damaged_id_is_one_that_no_database_has(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store-id").write_bytes(content)
    store = FilesystemStore(tmp_path)
    assert store.claim("an id") == store.store_id() != "an id"
    assert (tmp_path / "store-id").read_bytes() == content


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_that_this_user_may_not_read_counts_as_absent(tmp_path: Path) -> None:
    digest = put(FilesystemStore(tmp_path))
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, 65534)
    (tmp_path / "blobs" / digest.algorithm / digest.hex).chmod(0)
    store = FilesystemStore(tmp_path)
    assert store.size(digest) == len(CONTENT), "root may"
    child = os.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.setresuid(65534, 65534, 65534)
        os._exit(0 if FilesystemStore(Path()).size(digest) is None else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_files_of_others_are_passed_over(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    put(store)
    (tmp_path / "blobs" / "sha256" / "README").touch()
    (tmp_path / "blobs" / "md5").mkdir()
    (tmp_path / "blobs" / "md5" / DIGEST.hex).touch()
    (tmp_path / "ingest" / "Some Folder").mkdir()
    assert list(store.blobs()) == [(DIGEST, len(CONTENT))]
    assert list(store.partials()) == []


def test_a_folder_that_a_killed_process_left_empty_is_a_partial_of_no_bytes(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    folder = tmp_path / "ingest" / "abc"
    folder.mkdir()
    assert list(store.partials()) == [("abc", 0, False)]
    assert store.discard_partial("abc") == 0
    assert not folder.exists()


def test_lock_files_of_killed_processes_go_at_the_next_start_or_when_locked(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    (tmp_path / "locks" / "left").touch()
    (tmp_path / "locks" / f"sha256-{DIGEST.hex}.settle").touch()
    with store.ingest("running"):
        assert set(FilesystemStore(tmp_path).left_locked()) == {DIGEST}
        assert tree(tmp_path / "locks") == {"running", f"sha256-{DIGEST.hex}.settle"}
    with store.locked(DIGEST):
        assert set(store.left_locked()) == set()
    assert tree(tmp_path / "locks") == set()


@pytest.mark.parametrize("key", ["", "../escape", "a/b", "a:b:c:d", "UPPER", "a-b"])
def test_a_key_outside_the_grammar_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(Internal, match="not a key"), FilesystemStore(tmp_path).ingest(key):
        pass


@pytest.mark.parametrize(
    ("number", "expected", "words"),
    [
        pytest.param(errno.ENOSPC, OutOfSpace, "No space left on device", id="full disk"),
        pytest.param(errno.EDQUOT, OutOfSpace, "quota", id="full quota"),
        pytest.param(errno.EIO, Internal, "Input/output error", id="broken disk"),
    ],
)
def test_errors_of_the_disk_become_the_engines(number: int, expected: type[Exception], words: str) -> None:
    with pytest.raises(expected, match=words), storage_errors():
        raise OSError(number, os.strerror(number))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_while_writing_is_out_of_space_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FilesystemStore(tmp_path)
    monkeypatch.setattr("stowage.services.content.ingests.open_partial", lambda _: os.open("/dev/full", os.O_RDWR | os.O_CLOEXEC))
    with pytest.raises(OutOfSpace), store.ingest("abc") as ingest:
        ingest.write(CONTENT)
    assert list(store.partials()) == []
    assert list(store.blobs()) == []


def test_a_whole_file_is_adopted_and_resumed(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    put(store)
    with store.ingest(str(DIGEST)) as ingest:
        with ingest.locking():
            ingest.adopt()
        assert b"".join(ingest.resume()) == CONTENT
        assert store.size(DIGEST) is None
        ingest.commit(DIGEST, len(CONTENT))
    assert (dict(store.blobs()), list(store.partials())) == ({DIGEST: len(CONTENT)}, [])


def test_an_open_file_can_be_read_after_it_was_deleted(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    put(store)
    with store.open(DIGEST) as blob, store.locked(DIGEST):
        store.delete([DIGEST])
        assert blob.read() == CONTENT
