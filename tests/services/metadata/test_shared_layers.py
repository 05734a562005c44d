"""A layer that many images share costs a change of one of them no more than one that few share."""

from __future__ import annotations

import pytest

from stowage.services.metadata.store import MetadataStore
from tests.rows import BLOB_BYTES, add_blobs, add_image, add_index, digest, image_facts
from tests.services.metadata.steps import steps

SHARED, INDEXES = digest("shared"), 300


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    """A layer of hundreds of images, each named by its index, and one of a single such image."""
    with metadata.write() as tx:
        add_image(tx, "first", ["shared"])
        manifests = [f"manifest {number}" for number in range(INDEXES)]
        add_blobs(tx, [*manifests, *(f"{label}.config" for label in manifests)])
        tx.graph.add_manifests((image_facts(label, ["shared"]), b"{}") for label in manifests)
        for label in manifests:
            add_index(tx, f"index of {label}", [label], name=f"docker.io/library/{label.replace(' ', '-')}:1")
        add_image(tx, "other", ["own"])
        add_index(tx, "index of other", ["other"], name="docker.io/library/other:1")
    return metadata


def test_the_sweep_looks_for_one_image_that_keeps_it(store: MetadataStore) -> None:
    with store.read() as tx:
        assert tx.graph.rooted([SHARED]) == {SHARED}
        few = steps(tx, lambda: tx.graph.rooted([digest("own")]))
        many = steps(tx, lambda: tx.graph.rooted([SHARED]))
    assert many <= few + 5


def test_its_repair_counts_nothing_again(store: MetadataStore) -> None:
    with store.write() as tx:
        tx.graph.mark(SHARED, "has no file")
        tx.graph.mark(digest("own"), "has no file")
        few = steps(tx, lambda: tx.graph.add_blob(digest("own"), BLOB_BYTES, 2))
        many = steps(tx, lambda: tx.graph.add_blob(SHARED, BLOB_BYTES, 2))
        assert tx.graph.damages([SHARED, digest("own")]) == {}
    assert many <= few + 5
