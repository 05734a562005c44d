"""What every metadata store knows of damaged blobs: readers do not care, writers take them for absent, and a new file ends it."""

from __future__ import annotations

import pytest

from stowage.services.metadata.records import LayerFacts
from stowage.services.metadata.store import MetadataStore
from tests.listings import all_records, listed
from tests.rows import BLOB_BYTES, add_blobs, add_image, digest

A, B = digest("a"), digest("b")


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    return metadata


def test_a_new_blob_is_not_marked(store: MetadataStore) -> None:
    with store.write() as tx:
        add_blobs(tx, ["a"])
        assert tx.graph.unmarked([A, B]) == {A: BLOB_BYTES}
        assert tx.graph.damages([A, B]) == {}


def test_a_marked_blob_is_there_for_readers_only(store: MetadataStore) -> None:
    with store.write() as tx:
        add_blobs(tx, ["a", "b"])
        tx.graph.mark(A, "has no file")
    with store.read() as tx:
        assert tx.graph.present([A, B]) == {A, B}
        assert tx.graph.all_blobs() == tx.graph.blob_sizes([A, B]) == {A: BLOB_BYTES, B: BLOB_BYTES}
        assert tx.graph.unmarked([A, B]) == {B: BLOB_BYTES}
        assert tx.graph.damages([A, B]) == {A: "has no file"}


def test_a_mark_changes_nothing_that_lists_show(store: MetadataStore) -> None:
    with store.write() as tx:
        add_image(tx, "m", ["l"], name="a:1")
    before = all_records(store), listed(store)
    with store.write() as tx:
        tx.graph.mark(digest("l"), "has no file")
    assert (all_records(store), listed(store)) == before


@pytest.mark.parametrize("again", ["the file", "the mark"])
def test_a_mark_goes_with_a_new_file_or_when_it_is_taken_away(store: MetadataStore, again: str) -> None:
    with store.write() as tx:
        add_blobs(tx, ["a"])
        tx.graph.mark(A, "has no file")
        if again == "the file":
            tx.graph.add_blob(A, BLOB_BYTES, 2)
        else:
            tx.graph.mark(A, None)
    with store.read() as tx:
        assert tx.graph.unmarked([A]) == {A: BLOB_BYTES}
        assert tx.graph.damages([A]) == {}


def test_a_new_file_also_mends_a_wrong_size(store: MetadataStore) -> None:
    with store.write() as tx:
        tx.graph.add_blob(digest("l"), 1, 1)
        add_image(tx, "m")
        add_image(tx, "n", ["l"])
        tx.graph.add_blob(digest("l"), BLOB_BYTES, 2)
        assert tx.graph.unmarked([digest("l")]) == {digest("l"): BLOB_BYTES}
        assert tx.graph.content_sizes([digest("n")]) == {digest("n"): 3 * BLOB_BYTES}
    assert store.problems() == []


def test_a_blob_without_a_row_is_not_marked(store: MetadataStore) -> None:
    with store.write() as tx:
        tx.graph.mark(A, "has no file")
        assert tx.graph.damages([A]) == {}
        add_blobs(tx, ["a"])
        assert tx.graph.unmarked([A]) == {A: BLOB_BYTES}


def test_a_marked_blob_is_removed_like_any_other(store: MetadataStore) -> None:
    with store.write() as tx:
        add_image(tx, "m", ["l"])
        tx.graph.mark(digest("l"), "has no file")
        assert digest("l") in tx.graph.unrooted()
        tx.graph.remove([digest("l")])
        assert tx.graph.present([digest("l")]) == set()
        assert tx.graph.manifest(digest("m")) is None


def test_a_marked_layer_is_nobodys_twin(store: MetadataStore) -> None:
    with store.write() as tx:
        for age, label in enumerate(["first", "second"]):
            tx.graph.add_blob(digest(label), 1, age)
            tx.graph.add_layer(digest(label), LayerFacts(digest("tar"), 9))
        tx.graph.mark(digest("first"), "has no file")
        assert tx.graph.by_diff_id([digest("tar")]) == {digest("tar"): digest("second")}
        tx.graph.mark(digest("second"), "has no file")
        assert tx.graph.by_diff_id([digest("tar")]) == {}
