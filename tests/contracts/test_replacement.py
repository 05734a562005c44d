"""What every content store promises of a blob whose file was damaged behind its back: it stays until a verified one takes its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.content.protocol import ContentStore
from stowage.services.errors import InvalidContent
from stowage.services.oci.digest import Digest

CONTENT = b"what a blob holds " * 1000
DAMAGED = b"What a blob holds " * 1000
DIGEST = Digest.of(CONTENT)
KEY = str(DIGEST)


@pytest.fixture(params=["filesystem"])
def store(tmp_path: Path) -> ContentStore:
    opened = FilesystemStore(tmp_path / "store")
    with opened.ingest(KEY) as ingest:
        ingest.write(CONTENT)
        ingest.commit(DIGEST)
    return opened


def spoil(store: ContentStore) -> None:
    with store.open(DIGEST) as blob:
        Path(blob.name).write_bytes(DAMAGED)
        os.utime(blob.name, (1, 1))  # the clock of a file system may stand for some milliseconds


def test_the_version_is_that_of_one_file_and_its_bytes(store: ContentStore) -> None:
    first = store.version(DIGEST)
    assert first is not None
    assert store.version(DIGEST) == first
    spoil(store)
    second = store.version(DIGEST)
    with store.ingest(KEY) as ingest:
        ingest.write(CONTENT)
        ingest.commit(DIGEST)
    assert len({first, second, store.version(DIGEST)}) == 3
    store.delete([DIGEST])
    assert store.version(DIGEST) is None


def test_a_damaged_file_is_replaced_by_a_commit(store: ContentStore) -> None:
    spoil(store)
    with store.ingest(KEY) as ingest:
        assert list(ingest.resume()) == []
        ingest.write(CONTENT)
        assert store.read(DIGEST) == DAMAGED
        ingest.commit(DIGEST, len(CONTENT))
    assert store.read(DIGEST) == CONTENT
    assert list(store.partials()) == []


def test_a_partial_is_resumed_beside_a_damaged_file(store: ContentStore) -> None:
    spoil(store)
    with store.ingest(KEY) as ingest:
        ingest.write(CONTENT[:7000])
        ingest.keep()
    with store.ingest(KEY) as ingest:
        assert b"".join(ingest.resume()) == CONTENT[:7000]
        ingest.write(CONTENT[7000:])
        ingest.commit(DIGEST, len(CONTENT))
    assert store.read(DIGEST) == CONTENT


def test_a_replacement_that_is_refused_leaves_the_damaged_file(store: ContentStore) -> None:
    spoil(store)
    with store.ingest(KEY) as ingest:
        list(ingest.resume())
        ingest.write(b"neither")
        with pytest.raises(InvalidContent):
            ingest.commit(DIGEST)
    assert store.read(DIGEST) == DAMAGED
    assert list(store.partials()) == []
