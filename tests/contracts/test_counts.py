"""What a metadata store says of itself: how much there is, and whether it works."""

from __future__ import annotations

import time

import pytest

from stowage.services.metadata.records import RowCounts
from stowage.services.metadata.store import MetadataStore
from tests.rows import BLOB_BYTES, add_image


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    return metadata


def test_an_empty_store_has_nothing_and_works(store: MetadataStore) -> None:
    store.check()
    assert store.counts() == RowCounts(0, 0, 0, {"running": 0, "kept": 0, "expired": 0})


def test_the_end_of_the_last_sweep_is_kept(store: MetadataStore) -> None:
    assert store.counts().swept_at is None
    before = time.time()
    store.note_sweep()
    swept_at = store.counts().swept_at
    assert swept_at is not None
    assert before - 1 <= swept_at <= time.time()


def test_images_are_targets_and_leases_have_states(store: MetadataStore) -> None:
    with store.write() as tx:
        add_image(tx, "a", ["layer"], name="docker.io/library/a:1")
        add_image(tx, "b", ["layer"], name="docker.io/library/b:1")
        target = tx.images.get("docker.io/library/a:1")
        assert target is not None
        tx.images.put("docker.io/library/a:2", target.target, 1)
        for alive, expires in ((60, 600), (60, 600), (0, 600), (0, 0)):
            tx.leases.create("test", alive=alive, expires=expires)
    found = store.counts()
    assert (found.images, found.blobs, found.bytes) == (2, 5, 5 * BLOB_BYTES)
    assert found.leases == {"running": 2, "kept": 1, "expired": 1}
