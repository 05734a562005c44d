"""What every metadata store promises about objects in a bucket: nothing is removed that a row may need, and nothing is forgotten."""

from __future__ import annotations

import pytest

from stowage.services.errors import Internal
from stowage.services.metadata.store import MetadataStore, Transaction
from tests.contracts.metadata import ALIVE
from tests.rows import BLOB_BYTES, digest

A = digest("a")


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    return metadata


def begin(store: MetadataStore, *locations: str) -> str:
    """A lease under which these objects are going to be written."""
    with store.write() as tx:
        lease = tx.leases.create("pull", **ALIVE)
        tx.objects.intend(lease, locations)
    return lease


def record(store: MetadataStore, location: str) -> None:
    with store.write() as tx:
        tx.graph.add_blob(A, BLOB_BYTES, 1, location)


def doomed(tx: Transaction) -> set[tuple[str, int]]:
    return set(tx.objects.doomed(age=0, limit=10))


def test_a_recorded_blob_has_its_location(store: MetadataStore) -> None:
    lease = begin(store, "one", "two")
    with store.write() as tx:
        tx.graph.add_blobs({A: 1, digest("b"): 2, digest("c"): 3}, 1, {A: "one", digest("b"): "two"})
        tx.leases.end(lease)
    with store.read() as tx:
        assert tx.objects.locations([A, digest("b"), digest("c"), digest("d")]) == {A: "one", digest("b"): "two", digest("c"): ""}
        assert tx.objects.digests(["one", "three"]) == {"one": A}
        assert doomed(tx) == set()


def test_a_blob_without_an_intent_is_not_recorded(store: MetadataStore) -> None:
    with pytest.raises(Internal, match="has ended"):
        record(store, "one")
    lease = begin(store, "one")
    with store.write() as tx:
        tx.leases.end(lease)
    with pytest.raises(Internal, match="has ended"):
        record(store, "one")
    with store.read() as tx:
        assert tx.graph.present([A]) == set()


def test_an_intent_is_used_once(store: MetadataStore) -> None:
    begin(store, "one")
    record(store, "one")
    with pytest.raises(Internal):
        record(store, "one")


def test_nothing_is_intended_under_a_lease_that_has_ended(store: MetadataStore) -> None:
    with pytest.raises(Internal, match="has ended"), store.write() as tx:
        tx.objects.intend("ended", ["one"])


@pytest.mark.parametrize("way", ["end", "expire", "abandon"])
def test_the_end_of_a_lease_dooms_what_was_written_under_it(store: MetadataStore, way: str) -> None:
    other = begin(store, "other")
    lease = begin(store, "one", "two")
    record(store, "one")
    with store.write() as tx:
        if way == "end":
            tx.leases.end(lease)
        else:
            tx.leases.renew(lease, alive=0, expires=-1 if way == "expire" else 600)
            assert tx.leases.end_expired(limit=9) == set() if way == "expire" else not tx.leases.end_abandoned(limit=9, grace=60)
    with store.read() as tx:
        assert doomed(tx) == {("two", 0)}
        assert tx.objects.named(["one", "two", "other", "three"]) == {"one", "two", "other"}
    with store.write() as tx:
        tx.leases.end(other)


def test_the_end_of_a_lease_says_whether_there_is_something_to_remove(store: MetadataStore) -> None:
    with store.write() as tx:
        lease = tx.leases.create("pull", **ALIVE)
        tx.leases.add(lease, [A])
        assert tx.leases.end(lease) == ({A}, False)
        assert tx.leases.end(lease) == (set(), False)
        tx.leases.create("broken", alive=0, expires=-1)
        assert tx.leases.end(tx.leases.create("pull", **ALIVE)) == (set(), True)
        tx.leases.end_expired(limit=1)
        assert tx.leases.end(tx.leases.create("pull", **ALIVE)) == (set(), False)
    lease = begin(store, "one")
    with store.write() as tx:
        assert tx.leases.end(lease) == (set(), True)
        assert tx.leases.end(tx.leases.create("pull", **ALIVE)) == (set(), True)


def test_an_object_that_is_replaced_is_doomed(store: MetadataStore) -> None:
    begin(store, "one", "two")
    record(store, "one")
    with store.write() as tx:
        tx.graph.mark(A, "holds other bytes", "one")
    record(store, "two")
    with store.read() as tx:
        assert (tx.objects.locations([A]), doomed(tx), tx.graph.damages([A])) == ({A: "two"}, {("one", BLOB_BYTES)}, {})


def test_a_removed_row_dooms_its_object_until_it_is_forgotten(store: MetadataStore) -> None:
    begin(store, "one")
    record(store, "one")
    with store.write() as tx:
        tx.graph.remove([A])
    with store.read() as tx:
        assert doomed(tx) == {("one", BLOB_BYTES)}
        assert tx.objects.doomed(age=60, limit=9) == []
        ((location, blob, size, age),) = tx.objects.doomed_of([A, digest("b")])
        assert (location, blob, size) == ("one", A, BLOB_BYTES)
        assert 0 <= age < 60
    with store.write() as tx:
        tx.objects.forget(["one"])
    with store.read() as tx:
        assert (doomed(tx), tx.objects.named(["one"])) == (set(), set())


def test_files_are_never_doomed(store: MetadataStore) -> None:
    with store.write() as tx:
        tx.graph.add_blob(A, BLOB_BYTES, 1)
        tx.graph.add_blob(A, BLOB_BYTES, 2)
        tx.graph.remove([A])
    with store.read() as tx:
        assert doomed(tx) == set()


def test_a_transaction_that_fails_dooms_nothing(store: MetadataStore) -> None:
    begin(store, "one")
    record(store, "one")

    def fail() -> None:
        with store.write() as tx:
            tx.graph.remove([A])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.read() as tx:
        assert (doomed(tx), tx.objects.locations([A])) == (set(), {A: "one"})
