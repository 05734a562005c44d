"""Who uses which blobs, and lists in the order of what they use, whatever database is under the store."""

from __future__ import annotations

import pytest

from stowage.services.metadata.records import Order, Selection, SortKey
from stowage.services.metadata.store import MetadataStore
from stowage.services.metadata.usage import Amount, BlobAmounts, RepositoryUse, UsedBlob
from tests.contracts.metadata import ALIVE
from tests.rows import BLOB_BYTES, add_blobs, add_image, add_index, descriptor, digest

ONE = BLOB_BYTES
HUB = "docker.io/library/"


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    """app:1 and app:2 share the layer `base`, other:1 has a layer of its own; `lost` is no image's."""
    with metadata.write() as tx:
        add_image(tx, "one", ["base", "a", "b"], name=f"{HUB}app:1")
        add_image(tx, "two", ["base"], name=f"{HUB}app:2")
        add_image(tx, "three", ["c"], name="localhost:5000/team/other:1")
        add_blobs(tx, ["lost"])
    return metadata


def names(store: MetadataStore, selection: Selection, order: Order, limit: int | None = None) -> list[str]:
    with store.read() as tx:
        return [target.records[0].name.rpartition("/")[2] for target in tx.targets.read(tx.targets.find(selection, order, limit=limit))]


def test_blobs_are_counted_by_how_many_images_use_them(store: MetadataStore) -> None:
    with store.read() as tx:
        assert tx.usage.amounts() == BlobAmounts(Amount(1, ONE), Amount(9, 9 * ONE), Amount(1, ONE))
        assert tx.usage.shared_blobs(10) == [UsedBlob(digest("base"), ONE, 2)]
        assert tx.usage.users([digest("base"), digest("a"), digest("lost"), digest("absent")]) == {
            digest("base"): 2,
            digest("a"): 1,
            digest("lost"): 0,
        }


def test_repositories_are_ordered_by_what_only_one_of_their_images_has(store: MetadataStore) -> None:
    with store.write() as tx:
        tx.images.put(f"moby-dangling@{digest('three')}", descriptor("three"), 1)
        tx.images.delete(["localhost:5000/team/other:1"])
        add_image(tx, "four", [], name=f"localhost:5000/x@{digest('four')}")
    with store.read() as tx:
        assert tx.usage.repositories(10) == [
            RepositoryUse(f"{HUB}app", 2, 6 * ONE),
            RepositoryUse("", 1, 3 * ONE),
            RepositoryUse("localhost:5000/x", 1, 2 * ONE),
        ]
        assert [each.repository for each in tx.usage.repositories(1)] == [f"{HUB}app"]


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (Order(SortKey.SIZE), ["app:1", "app:2", "other:1"]),
        (Order(SortKey.SIZE, descending=False), ["app:2", "other:1", "app:1"]),
        (Order(SortKey.UNIQUE), ["app:1", "other:1", "app:2"]),
        (Order(SortKey.UNIQUE, descending=False), ["app:2", "other:1", "app:1"]),
        (Order(SortKey.NAME, descending=False), ["app:1", "app:2", "other:1"]),
        (Order(SortKey.NAME), ["other:1", "app:2", "app:1"]),
    ],
)
def test_lists_have_an_order_with_and_without_conditions(store: MetadataStore, order: Order, found: list[str]) -> None:
    among = Selection(among=frozenset(str(digest(label)) for label in ("one", "two", "three")))
    assert names(store, Selection(), order) == names(store, Selection(dangling=False), order) == names(store, among, order) == found
    assert names(store, Selection(), order, 1) == names(store, among, order, 1) == found[:1]


def test_images_without_a_name_come_after_all_names(store: MetadataStore) -> None:
    with store.write() as tx:
        tx.images.put(f"moby-dangling@{digest('one')}", descriptor("one"), 1)
        tx.images.delete([f"{HUB}app:1"])
    by_name = names(store, Selection(), Order(SortKey.NAME, descending=False))
    assert by_name[:2] == ["app:2", "other:1"] and by_name[2].startswith("moby-dangling@")


def test_a_size_follows_what_is_present(store: MetadataStore) -> None:
    with store.write() as tx:
        add_index(tx, "index", ["late"], name=f"{HUB}zz:1")
    assert names(store, Selection(), Order(SortKey.SIZE))[-1] == "zz:1"
    with store.write() as tx:
        add_image(tx, "late", ["l1", "l2", "l3", "l4"])
    assert names(store, Selection(), Order(SortKey.SIZE))[0] == "zz:1"
    assert store.problems() == []


def test_what_an_image_holds_is_itself_and_all_below(store: MetadataStore) -> None:
    with store.read() as tx:
        held = tx.usage.holdings([digest("one")])
        assert held == {digest("one"): dict.fromkeys(map(digest, ("one", "one.config", "base", "a", "b")), ONE)}


def test_a_lease_keeps_what_is_below_what_it_names(store: MetadataStore) -> None:
    asked = [digest(label) for label in ("one", "base", "c", "lost")]
    with store.write() as tx:
        assert tx.usage.leased(asked) == set()
        tx.leases.add(tx.leases.create("test", **ALIVE), [digest("one")])
        tx.leases.add(tx.leases.create("expired", alive=0, expires=0), [digest("c")])
        assert tx.usage.leased(asked) == {digest("one"), digest("base")}


def test_users_are_found_through_indexes_in_the_order_of_their_names(store: MetadataStore) -> None:
    with store.write() as tx:
        add_index(tx, "inner", ["two"])
        add_index(tx, "outer", ["inner"], name=f"{HUB}aaa:1")
    with store.read() as tx:
        users = [tx.usage.users_of(digest("base"), limit=2, offset=start) for start in (0, 2)]
        found = [[target.records[0].name for target in tx.targets.read(ids)] for ids in users]
        assert found == [[f"{HUB}aaa:1", f"{HUB}app:1"], [f"{HUB}app:2"]]
        assert len(tx.usage.some_users(digest("base"), 2)) == 2
        assert set(tx.usage.some_users(digest("base"), 5)) == {*users[0], *users[1]}
        assert tx.usage.users_of(digest("lost"), limit=9) == tx.usage.some_users(digest("lost"), 9) == []


def test_chains_of_the_same_layers_are_equal(store: MetadataStore) -> None:
    with store.read() as tx:
        assert {(each.first_name, each.shown, each.size) for each in tx.usage.relatives()} == {
            (f"{HUB}app:1", str(digest("one")), 5 * ONE),
            (f"{HUB}app:2", str(digest("two")), 3 * ONE),
            ("localhost:5000/team/other:1", str(digest("three")), 3 * ONE),
        }
        ids = {each.first_name: each.id for each in tx.usage.relatives()}
        assert len(ids) == 3 and len(tx.usage.relatives(most=2)) == 2
        first, other = ids[f"{HUB}app:1"], ids["localhost:5000/team/other:1"]
        assert {each.first_name for each in tx.usage.relatives(of=[first])} == {f"{HUB}app:1", f"{HUB}app:2"}
        assert len(tx.usage.relatives(of=[first, other], most=2)) == 2
        assert [each.id for each in tx.usage.relatives(of=[other])] == [other] and tx.usage.relatives(of=[]) == []
        chains = tx.usage.chains([str(digest(label)) for label in ("one", "two", "three", "absent")])
    one, two, three = (chains[str(digest(label))] for label in ("one", "two", "three"))
    assert (list(one.sizes), list(two.sizes), len(chains)) == ([ONE, 2 * ONE, 3 * ONE], [ONE], 3)
    assert one.hashes[0] == two.hashes[0] != three.hashes[0]


def test_the_database_has_a_size(store: MetadataStore) -> None:
    assert store.size() > 50_000
