"""What every metadata store does with lists of files: it keeps them with their blobs, and the newest up to a limit."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from stowage.services.archive.file_list import FileList
from stowage.services.errors import Internal
from stowage.services.gc.collector import remove_unreadable_lists
from stowage.services.metadata.layer_files import ROW_BYTES
from stowage.services.metadata.store import MetadataStore, Transaction
from tests.rows import add_blobs, add_image, digest

MOST = 1 << 20
LIST = b"a list of files" * 10


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    with metadata.write() as tx:
        add_blobs(tx, "abcd")
    return metadata


def kept(tx: Transaction) -> set[str]:
    return {label for label in "abcd" if tx.layer_files.get([digest(label)])}


def _remove_and_fail(tx: Transaction) -> None:
    tx.graph.remove([digest("a")])
    raise Internal("rolls back")


def test_a_list_is_kept_as_it_was_given(store: MetadataStore) -> None:
    with store.write() as tx:
        assert tx.layer_files.put(digest("a"), LIST, 1, most=MOST)
    with store.read() as tx:
        assert tx.layer_files.get([digest("a"), digest("b")]) == {digest("a"): LIST}
        assert tx.layer_files.bytes() == len(LIST) + ROW_BYTES


def test_an_empty_store_has_none(store: MetadataStore) -> None:
    with store.read() as tx:
        assert tx.layer_files.get([digest("a")]) == {}
        assert tx.layer_files.bytes() == 0


def test_a_newer_list_replaces_an_older_one(store: MetadataStore) -> None:
    with store.write() as tx:
        tx.layer_files.put(digest("a"), LIST, 1, most=MOST)
        tx.layer_files.put(digest("a"), b"new", 2, most=MOST)
        assert tx.layer_files.get([digest("a")]) == {digest("a"): b"new"}
        assert tx.layer_files.bytes() == len(b"new") + ROW_BYTES


def test_a_list_of_an_absent_blob_is_not_kept(store: MetadataStore) -> None:
    with store.write() as tx:
        assert not tx.layer_files.put(digest("absent"), LIST, 1, most=MOST)
        assert tx.layer_files.bytes() == 0


@pytest.mark.parametrize("more", [0, 1])
def test_the_oldest_lists_make_room(store: MetadataStore, more: int) -> None:
    most = 3 * (len(LIST) + ROW_BYTES)
    with store.write() as tx:
        for now, label in enumerate("bac"):
            tx.layer_files.put(digest(label), LIST, now, most=most)
        tx.layer_files.put(digest("d"), LIST + bytes(more), 9, most=most)
        assert kept(tx) == ({"a", "c", "d"} if not more else {"c", "d"})
        assert tx.layer_files.bytes() <= most


def test_a_list_beyond_the_limit_is_not_kept_and_removes_nothing_else(store: MetadataStore) -> None:
    with store.write() as tx:
        tx.layer_files.put(digest("a"), LIST, 1, most=MOST)
        assert not tx.layer_files.put(digest("b"), bytes(MOST), 2, most=MOST)
        assert kept(tx) == {"a"}


def test_a_list_goes_with_its_blob_in_one_transaction(store: MetadataStore) -> None:
    with store.write() as tx:
        add_image(tx, "m", ["a"])
        tx.layer_files.put(digest("a"), LIST, 1, most=MOST)
        tx.layer_files.put(digest("b"), LIST, 1, most=MOST)
    with pytest.raises(Internal), store.write() as tx:
        _remove_and_fail(tx)
    with store.read() as tx:
        assert kept(tx) == {"a", "b"}
    with store.write() as tx:
        tx.graph.remove([digest("m"), digest("a")])
        assert kept(tx) == {"b"}


def test_lists_are_found_a_page_at_a_time_and_removed(store: MetadataStore) -> None:
    with store.write() as tx:
        for label in "abc":
            tx.layer_files.put(digest(label), LIST, 1, most=MOST)
        found = tx.layer_files.digests(None)
        assert found == sorted(map(digest, "abc"), key=str) and tx.layer_files.digests(found[0]) == found[1:]
        tx.layer_files.remove([digest("a"), digest("d")])
        assert kept(tx) == {"b", "c"} and not tx.layer_files.has(digest("a")) and tx.layer_files.has(digest("b"))
        assert tx.layer_files.digests(found[-1]) == []


def test_a_list_that_cannot_be_read_is_absent_found_and_removed(metadata: MetadataStore, store: MetadataStore) -> None:
    whole = FileList().dump()
    with metadata.write() as tx:
        for label in "abcd":
            tx.layer_files.put(digest(label), b"no list" if label == "c" else whole, 1, most=MOST)
        change = text("UPDATE layer_files SET list = :other WHERE digest = :of")
        tx.graph._connection.execute(change, {"of": str(digest("a")), "other": b"?"})
    with metadata.read() as tx:
        assert kept(tx) == {"b", "c", "d"}
    assert set(remove_unreadable_lists(metadata)) == {digest("a"), digest("c")}
    assert list(remove_unreadable_lists(metadata)) == []
    with metadata.read() as tx:
        assert kept(tx) == {"b", "d"} and not tx.layer_files.has(digest("a"))
