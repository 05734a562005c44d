"""What processes that share a metadata store learn of each other: transactions, leases, images, events."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from stowage.services.errors import Internal
from stowage.services.metadata.records import Actor, Event, Kind
from stowage.services.metadata.store import MetadataStore, Transaction
from tests.contracts.metadata import ALIVE, digests
from tests.engines import metadata_store
from tests.listings import all_records
from tests.rows import BLOB_BYTES, add_blobs, add_image, add_index, descriptor, digest


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    return metadata


class TestTransactions:
    def test_a_write_that_raises_leaves_nothing(self, store: MetadataStore) -> None:
        with suppress(RuntimeError), store.write() as tx:
            add_image(tx, "m", ["l"], name="a:1")
            raise RuntimeError
        with store.read() as tx:
            assert tx.graph.all_blobs() == {}
            assert tx.images.get("a:1") is None

    def test_a_read_sees_one_state(self, store: MetadataStore) -> None:
        with store.read() as reading:
            assert reading.graph.all_blobs() == {}
            with store.write() as writing:
                add_blobs(writing, ["a"])
            assert reading.graph.all_blobs() == {}
        with store.read() as reading:
            assert reading.graph.all_blobs() == {digest("a"): BLOB_BYTES}

    def test_names_that_were_read_may_change_in_the_same_transaction(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m", name="a:1")
            assert tx.images.named(["a:1", "b:1"]).keys() == {"a:1"}
            tx.images.delete(["a:1"])
            for name in ("a:1", "b:1"):
                tx.images.put(name, descriptor("m"), 2)
                tx.images.put(name, descriptor("m"), 3)
            found = tx.images.named(["a:1", "b:1"])
        assert {name: record.created_at for name, record in found.items()} == {"a:1": 2, "b:1": 2}

    def test_writers_of_many_threads_queue(self, store: MetadataStore) -> None:
        def write(number: int) -> None:
            for step in range(5):
                with store.write() as tx:
                    add_blobs(tx, [f"{number}.{step}"])

        threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with store.read() as tx:
            assert len(tx.graph.all_blobs()) == 16 * 5


class TestLeases:
    def test_a_lease_keeps_until_it_ends(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m", ["l"])
            lease = tx.leases.create("test", **ALIVE)
            tx.leases.add(lease, [digest("m")])
            tx.leases.add(lease, [digest("m"), digest("not here yet")])
            assert tx.leases.digests(lease) == digests("m", "not here yet")
            assert tx.graph.rooted([digest("l"), digest("not here yet")]) == digests("l", "not here yet")
            tx.leases.end(lease)
            assert tx.graph.rooted([digest("l")]) == set()

    def test_held_is_what_a_living_lease_names(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m", ["l"])
            lease, silent, expired = (
                tx.leases.create("test", alive=alive, expires=expires) for alive, expires in ((60, 600), (0, 600), (60, 0))
            )
            tx.leases.add(lease, [digest("m"), digest("not here yet")])
            tx.leases.add(silent, [digest("m"), digest("silent")])
            tx.leases.add(expired, [digest("expired")])
            asked = [digest(label) for label in ("m", "l", "not here yet", "silent", "expired", "unknown")]
            assert tx.leases.held(asked) == digests("m", "not here yet", "silent")
            tx.leases.end(silent)
            assert tx.leases.held(asked) == digests("m", "not here yet")
            assert tx.leases.held([]) == set()

    def test_an_expired_lease_keeps_nothing(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m")
            lease = tx.leases.create("test", alive=60, expires=0)
            tx.leases.add(lease, [digest("m")])
            assert tx.graph.rooted([digest("m")]) == set()
            assert digest("m") in tx.graph.unrooted()
            tx.leases.end_abandoned(limit=9, grace=60)
            assert tx.leases.digests(lease) == set()

    def test_expired_leases_are_ended_a_few_at_a_time_and_no_others(self, store: MetadataStore) -> None:
        with store.write() as tx:
            ages = {"older": -20, "old": -10, "running": 600}
            leases = {note: tx.leases.create(note, alive=0, expires=seconds) for note, seconds in ages.items()}
            for note, lease in leases.items():
                tx.leases.add(lease, [digest(note), digest("shared")])
            assert tx.leases.end_expired(limit=1) == digests("older", "shared")
            assert tx.leases.end_expired(limit=2) == digests("old", "shared")
            assert tx.leases.end_expired(limit=2) == set()
            assert tx.leases.digests(leases["running"]) == digests("running", "shared")

    def test_an_abandoned_lease_keeps_until_a_prune_ends_it(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m")
            running = tx.leases.create("running", **ALIVE)
            silent = tx.leases.create("silent", alive=0, expires=600)
            tx.leases.add(running, [digest("m")])
            tx.leases.add(silent, [digest("m.config")])
            assert tx.graph.rooted([digest("m.config")]) == {digest("m.config")}
            tx.leases.end_abandoned(limit=9, grace=60)
            assert tx.leases.digests(silent) == set()
            assert tx.leases.digests(running) == {digest("m")}

    def test_abandoned_leases_are_ended_a_few_at_a_time(self, store: MetadataStore) -> None:
        with store.write() as tx:
            leases = [tx.leases.create("silent", alive=0, expires=600) for _ in range(3)]
            for lease in leases:
                tx.leases.add(lease, [digest("m")])
            assert tx.leases.end_abandoned(limit=2, grace=60)
            assert sum(1 for lease in leases if tx.leases.digests(lease)) == 1
            assert not tx.leases.end_abandoned(limit=2, grace=60)
            assert not any(tx.leases.digests(lease) for lease in leases)

    def test_renewing_brings_a_silent_lease_back(self, store: MetadataStore) -> None:
        with store.write() as tx:
            lease = tx.leases.create("test", alive=0, expires=0)
            tx.leases.add(lease, [digest("m")])
            tx.leases.renew(lease, **ALIVE)
            tx.leases.end_abandoned(limit=9, grace=60)
            assert tx.leases.digests(lease) == {digest("m")}

    def test_a_lease_that_is_late_gets_another_period(self, store: MetadataStore) -> None:
        with store.write() as tx:
            leases = [tx.leases.create("late", alive=-1, expires=600) for _ in range(2)]
            for lease in leases:
                tx.leases.add(lease, [digest("m")])
            tx.leases.end_abandoned(limit=9, grace=60)
            tx.leases.end_abandoned(limit=9, grace=0)
            assert [tx.leases.digests(lease) for lease in leases] == [{digest("m")}] * 2
            tx.leases.renew(leases[0], alive=-1, expires=600)
            tx.leases.end_abandoned(limit=9, grace=0)
            assert [tx.leases.digests(lease) for lease in leases] == [set(), {digest("m")}]

    def test_a_holder_learns_that_its_lease_was_ended(self, store: MetadataStore) -> None:
        with store.write() as tx:
            lease = tx.leases.create("test", alive=0, expires=600)
            tx.leases.end_abandoned(limit=9, grace=60)
        with pytest.raises(Internal, match="was not renewed in time"), store.write() as tx:
            tx.leases.renew(lease, **ALIVE)
        with pytest.raises(Internal, match="was not renewed in time"), store.write() as tx:
            tx.leases.add(lease, [digest("m")])


class TestListed:
    def test_it_holds_all_facts_and_the_edges_of_indexes(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "amd64", ["l"])
            add_image(tx, "other", ["l"])
            add_index(tx, "inner", ["amd64", "absent"])
            add_index(tx, "outer", ["inner"], name="a:1")
        with store.read() as tx:
            manifests = tx.graph.listed([digest("outer")])
        assert set(manifests) == digests("outer", "inner", "amd64")
        assert [edge.child.digest for edge in manifests[digest("inner")].edges] == [digest("amd64"), digest("absent")]
        assert manifests[digest("amd64")].edges == ()
        assert manifests[digest("amd64")].kind is Kind.IMAGE

    def test_another_process_changes_it(self, store: MetadataStore, other_store: MetadataStore) -> None:
        assert all_records(store) == ()
        with other_store.write() as tx:
            add_image(tx, "m", name="a:1")
        assert [record.name for record in all_records(store)] == ["a:1"]


class TestEvents:
    def test_an_event_comes_back_as_it_was_appended(self, store: MetadataStore) -> None:
        actor = Actor("sha256:a", {"name": "ü \u2028", "": ""})
        with store.write() as tx:
            tx.events.append(time=1 << 62, event_type="image", action="tag", actor=actor)
            position = tx.events.last()
        with store.read() as tx:
            assert tx.events.after(0, limit=9) == [Event(position, 1 << 62, "image", "tag", actor)]
            assert tx.events.after(position, limit=9) == []

    def test_times_never_go_back_a_little(self, store: MetadataStore) -> None:
        for seconds in (1000, 950, 1001, 900):
            with store.write() as tx:
                tx.events.append(time=seconds * 1_000_000_000, event_type="image", action="tag", actor=Actor("", {}))
        with store.read() as tx:
            assert [event.time // 1_000_000_000 for event in tx.events.after(0, limit=9)] == [1000, 1000, 1001, 900]

    def test_a_store_without_events(self, store: MetadataStore) -> None:
        with store.read() as tx:
            assert (tx.events.last(), tx.events.after(0, limit=9)) == (0, [])

    def test_pages_follow_each_other(self, store: MetadataStore) -> None:
        with store.write() as tx:
            for number in range(5):
                _append(tx, str(number))
        with store.read() as tx:
            first = tx.events.after(0, limit=3)
            rest = tx.events.after(first[-1].id, limit=3)
        assert [event.action for event in first + rest] == ["0", "1", "2", "3", "4"]

    def test_an_event_is_seen_when_its_transaction_is_committed(self, store: MetadataStore, other_store: MetadataStore) -> None:
        with store.write() as tx:
            _append(tx, "a")
            assert _actions(other_store) == []
        assert _actions(other_store) == ["a"]

    def test_what_is_rolled_back_did_not_happen(self, store: MetadataStore) -> None:
        with suppress(RuntimeError), store.write() as tx:
            _append(tx, "a")
            raise RuntimeError
        assert _actions(store) == []

    def test_the_oldest_are_dropped_and_their_ids_never_given_again(self, database_url: str, store: MetadataStore) -> None:
        small = metadata_store(database_url, event_history=2)
        with small.write() as tx:
            for number in range(5):
                _append(tx, str(number))
        assert _actions(small) == ["3", "4"]
        small.close()
        with store.write() as tx:
            before = tx.events.last()
            _append(tx, "5")
            assert tx.events.last() == before + 1

    def test_they_are_dropped_when_there_are_a_few_too_many(self, database_url: str, store: MetadataStore) -> None:
        small = metadata_store(database_url, event_history=32)
        kept = []
        for number in range(60):
            with small.write() as tx:
                for part in range(number % 3 + 1):
                    _append(tx, f"{number}.{part}")
            kept.append(len(_actions(small)))
        small.close()
        assert max(kept) <= 34
        assert min(kept[30:]) >= 32

    def test_writers_of_many_threads_get_ids_in_the_order_of_their_commits(self, store: MetadataStore, other_store: MetadataStore) -> None:
        def write(number: int) -> None:
            for step in range(5):
                with (store, other_store)[number % 2].write() as tx:
                    _append(tx, f"{number}.{step}")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        seen: list[str] = []
        position = 0
        for thread in threads:
            thread.start()
        while len(seen) < 8 * 5:
            with store.read() as tx:
                for event in tx.events.after(position, limit=7):
                    seen.append(event.action)
                    position = event.id
        for thread in threads:
            thread.join()
        assert len(set(seen)) == 8 * 5


def _append(tx: Transaction, action: str) -> None:
    tx.events.append(time=1, event_type="image", action=action, actor=Actor("a", {}))


def _actions(store: MetadataStore) -> list[str]:
    with store.read() as tx:
        return [event.action for event in tx.events.after(0, limit=100)]
