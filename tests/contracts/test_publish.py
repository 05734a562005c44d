"""Small blobs published together: as whole and as durable as one that is committed alone."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stowage.services.content.protocol import ContentStore
from stowage.services.errors import InvalidContent, OutOfSpace
from stowage.services.oci.digest import Digest

CONTENTS = [b"%d" % number for number in range(10)] + [b"", b"x" * 70_000]
BLOBS = {Digest.of(content): content for content in CONTENTS}
PROJECT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from stowage.services.content import ingests
from stowage.services.content.filesystem import FilesystemStore
from stowage.services.oci.digest import Digest

setattr(ingests, sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
with FilesystemStore(Path(sys.argv[1])).publish({Digest.of(b"a"): b"a", Digest.of(b"b"): b"b"}):
    pass
"""


def found(store: ContentStore) -> dict[Digest, bytes]:
    return {digest: store.read(digest) for digest, _ in store.blobs()}


def test_all_are_there_and_held_until_the_context_ends(content: ContentStore) -> None:
    with content.publish(BLOBS) as published:
        assert published.keys() == set(BLOBS)
        assert found(content) == BLOBS
        with content.locked(next(iter(BLOBS))) as held:
            assert not held
    with content.locked(next(iter(BLOBS))) as held:
        assert held
    assert list(content.partials()) == []


def test_nothing_is_published_of_nothing(content: ContentStore) -> None:
    with content.publish({}) as published:
        assert published.keys() == set()
    assert (found(content), list(content.partials())) == ({}, [])


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_each_is_kept_under_its_own_algorithm(content: ContentStore, algorithm: str) -> None:
    blobs = {**BLOBS, Digest(algorithm, hashlib.new(algorithm, b"long").hexdigest()): b"long"}
    with content.publish(blobs):
        assert found(content) == blobs


def test_a_blob_that_somebody_has_in_hand_is_left_to_him(content: ContentStore) -> None:
    first, *others = BLOBS
    with content.ingest(str(first)), content.publish(BLOBS) as published:
        assert published.keys() == set(others)
    assert found(content) == {digest: BLOBS[digest] for digest in others}


def test_what_is_there_already_stays_readable(content: ContentStore) -> None:
    with content.publish(BLOBS):
        pass
    with content.open(Digest.of(b"1")) as blob, content.publish(BLOBS):
        assert blob.read() == b"1"
    assert found(content) == BLOBS


def test_what_an_earlier_transfer_left_of_a_blob_goes(content: ContentStore) -> None:
    with content.ingest(str(Digest.of(b"1"))) as ingest:
        ingest.write(b"half")
        ingest.keep()
    with content.publish(BLOBS):
        pass
    assert (found(content), list(content.partials())) == (BLOBS, [])


def test_one_that_lies_keeps_all_out(content: ContentStore) -> None:
    with pytest.raises(InvalidContent, match="unexpected commit digest"), content.publish({**BLOBS, Digest.of(b"true"): b"false"}):
        pass
    assert (found(content), list(content.partials())) == ({}, [])


def test_every_file_is_synced_and_the_folder_once(content: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    with content.publish({Digest.of(b"the folder is there"): b"the folder is there"}):
        pass
    monkeypatch.setattr(os, "fsync", synced.append)
    with content.publish(BLOBS):
        assert len(synced) == len(BLOBS) + 1


def test_a_full_disk_leaves_nothing(content: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfSpace), content.publish(BLOBS):
        pass
    assert (found(content), list(content.partials())) == ({}, [])


def all_in_the_partial(store: ContentStore) -> None:
    ((key, size, held),) = store.partials()
    assert (size, held, found(store)) == (2, False, {})
    assert store.discard_partial(key) == 2


def all_published(store: ContentStore) -> None:
    assert found(store) == {Digest.of(b"a"): b"a", Digest.of(b"b"): b"b"}
    ((key, _, _),) = store.partials()
    store.discard_partial(key)


@pytest.mark.parametrize(("step", "check"), [("_rename", all_in_the_partial), ("sync_folder", all_published)])
def test_a_process_that_is_killed_leaves_what_a_collection_finds(
    tmp_path: Path, content: ContentStore, step: str, check: Callable[[ContentStore], None]
) -> None:
    with content.publish({Digest.of(b"the folder is there"): b"the folder is there"}):
        pass
    content.delete([Digest.of(b"the folder is there")])
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "root"), step], cwd=PROJECT, check=False)
    assert done.returncode == -signal.SIGKILL
    check(content)
    assert list(content.partials()) == []
