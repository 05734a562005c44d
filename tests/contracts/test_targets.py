"""Targets as lists find and read them, whatever database is under the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from stowage.services.metadata.labels import label_hash
from stowage.services.metadata.records import Selection
from stowage.services.metadata.store import MetadataStore, Transaction
from stowage.services.oci import mediatypes
from stowage.services.oci.platform import Platform
from stowage.services.timestamps import ZERO, Timestamp
from tests.listings import listed
from tests.rows import BLOB_BYTES, add_blobs, add_image, add_index, descriptor, digest, image_facts

SECOND = 1_000_000_000
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    return metadata


def add(
    tx: Transaction,
    label: str,
    *names: str,
    created: Timestamp | None = None,
    labels: Mapping[str, str] | None = None,
    platform: Platform = AMD64,
) -> None:
    """An image without layers, with names."""
    add_blobs(tx, [label, f"{label}.config"])
    tx.graph.add_manifest(replace(image_facts(label, []), created=created, labels=labels, platform=platform), b"{}")
    for name in names:
        tx.images.put(name, descriptor(label), 1)


def found(store: MetadataStore, selection: Selection) -> list[str]:
    """The first names of the targets, in their order."""
    with store.read() as tx:
        return [target.records[0].name for target in tx.targets.read(tx.targets.find(selection))]


class TestOrder:
    def test_the_newest_first_then_by_first_name(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add(tx, "c", "c:1", created=Timestamp(5 * SECOND))
            add(tx, "b", "z:1", "b:1", created=Timestamp(5 * SECOND + 999))
            add(tx, "old", "a:1", created=Timestamp(-SECOND))
            add(tx, "new", "new:1", created=Timestamp(6 * SECOND))
            add(tx, "unknown", "unknown:1")
        assert found(store, Selection()) == ["new:1", "b:1", "c:1", "unknown:1", "a:1"]

    def test_a_name_moves_its_targets(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add(tx, "b", "b:1")
            add(tx, "c", "c:1")
        with store.write() as tx:
            tx.images.put("a:1", descriptor("c"), 1)
        assert found(store, Selection()) == ["a:1", "b:1"]
        with store.write() as tx:
            tx.images.put("a:1", descriptor("b"), 1)
        assert found(store, Selection()) == ["a:1", "c:1"]

    def test_ids_stay_so_what_is_read_later_comes_once_and_what_is_gone_does_not(self, store: MetadataStore) -> None:
        with store.write() as tx:
            for label in "abcd":
                add(tx, label, f"{label}:1")
        with store.read() as tx:
            ids = tx.targets.find(Selection())
        with store.write() as tx:
            tx.images.delete(["b:1"])
            tx.images.put("z:1", descriptor("a"), 1)
            tx.images.delete(["a:1"])
            add(tx, "new", "0:1")
        with store.read() as tx:
            assert [target.digest for target in tx.targets.read(ids)] == [digest(label) for label in "acd"]


class TestFacts:
    def test_they_are_those_of_the_platform_that_the_store_prefers(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add(tx, "arm64", created=Timestamp(SECOND), labels={"arch": "arm64"}, platform=ARM64)
            add_index(tx, "index", ["arm64", "amd64"], name="a:1")
        (target,) = listed(store)
        assert (target.created, target.labels, target.size) == (1, '{"arch":"arm64"}', 3 * BLOB_BYTES)
        with store.write() as tx:
            add(tx, "amd64", created=Timestamp(2 * SECOND), labels={"arch": "amd64"})
        (target,) = listed(store)
        assert (target.created, target.labels, target.size) == (2, '{"arch":"amd64"}', 5 * BLOB_BYTES)
        with store.write() as tx:
            tx.graph.remove([digest("amd64")])
        (target,) = listed(store)
        assert (target.created, target.labels) == (1, '{"arch":"arm64"}')

    def test_an_unchanged_target_is_the_same_object(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add(tx, "a", "a:1")
            add(tx, "b", "b:1")
        first = listed(store)
        with store.write() as tx:
            tx.images.put("b:2", descriptor("b"), 1)
        assert [one is other for one, other in zip(first, listed(store), strict=True)] == [True, False]

    def test_without_a_manifest_of_an_image_nothing_is_known(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_index(tx, "empty", [], name="a:1")
        (target,) = listed(store)
        assert (target.is_known, target.created, target.labels) == (False, 0, None)


class TestFind:
    @pytest.fixture(autouse=True)
    def shelf(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add(tx, "one", "one:1", "moby-dangling@one", created=ZERO, labels={"stage": "prod", "x": ""})
            add(tx, "two", "two:1", created=Timestamp(5), labels={"stage": "dev"})
            add(tx, "three", f"moby-dangling@{digest('three')}", created=Timestamp(6))
            tx.images.put("late:1", descriptor("two"), 100)

    @pytest.mark.parametrize(
        ("selection", "expected"),
        [
            pytest.param(Selection(dangling=True), ["one", "three"], id="dangling"),
            pytest.param(Selection(dangling=False), ["one", "two"], id="named"),
            pytest.param(Selection(stored_before=100), ["one", "three", "two"], id="one of its names is old"),
            pytest.param(Selection(stored_before=1), [], id="no old name"),
            pytest.param(Selection(created_after=5), ["three"], id="after"),
            pytest.param(Selection(created_before=6), ["one", "two"], id="before"),
            pytest.param(Selection(created_after=-(1 << 66)), ["three", "two"], id="after year 1"),
            pytest.param(Selection(created_before=-(1 << 66)), [], id="before year 1"),
            pytest.param(Selection(created_before=1 << 66, stored_before=1 << 66), ["one", "three", "two"], id="before year 9999"),
            pytest.param(Selection(labels=(label_hash("stage"),)), ["one", "two"], id="key"),
            pytest.param(Selection(labels=(label_hash("stage", "dev"),)), ["two"], id="label"),
            pytest.param(Selection(labels=(label_hash("stage"), label_hash("x", ""))), ["one"], id="both"),
            pytest.param(Selection(not_labels=(label_hash("stage", "prod"),)), ["three", "two"], id="not that"),
            pytest.param(Selection(among={str(digest("two")), str(digest("three")), "sha256:gone"}), ["three", "two"], id="among"),
            pytest.param(Selection(among={str(digest("two"))}, created_after=5), [], id="among those after"),
            pytest.param(Selection(among=set()), [], id="among none"),
        ],
    )
    def test_every_condition_is_met(self, store: MetadataStore, selection: Selection, expected: Iterable[str]) -> None:
        with store.read() as tx:
            targets = tx.targets.read(tx.targets.find(selection))
        assert sorted(target.digest for target in targets) == sorted(map(digest, expected))

    def test_names_are_read_by_their_beginnings(self, store: MetadataStore) -> None:
        with store.read() as tx:
            assert set(tx.targets.names(["one:", "lat"], Selection())) == {("one:1", str(digest("one"))), ("late:1", str(digest("two")))}
            assert set(tx.targets.names(["l", "o"], Selection(stored_before=50))) == {("one:1", str(digest("one")))}
            assert len(list(tx.targets.names([""], Selection(dangling=False)))) == 3
            assert [name for name, _ in tx.targets.names([""], Selection(), ["%ne:_", r"l\%"])] == ["one:1"]
            assert [name for name, _ in tx.targets.names(["on", "late"], Selection(), ["on_:%", "on_@%", "l_te"])] == ["one:1"]
            assert [name for name, _ in tx.targets.names(["on"], Selection(dangling=True), ["on_:%"])] == []


class TestLabels:
    def test_a_label_that_one_platform_lacks_is_not_on_all(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add(tx, "amd64", labels={"both": "1", "one": "1"})
            add(tx, "arm64", labels={"both": "1"}, platform=ARM64)
            add_index(tx, "index", ["amd64", "arm64"], name="a:1")
        for key, labelled, without in (("both", 1, 0), ("one", 1, 1), ("none", 0, 1)):
            assert len(found(store, Selection(labels=(label_hash(key),)))) == labelled
            assert len(found(store, Selection(not_labels=(label_hash(key),)))) == without

    def test_a_target_with_very_many_is_found_by_any(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add(tx, "many", "many:1", labels={str(number): "" for number in range(10_000)})
        assert found(store, Selection(labels=(label_hash("77", ""),))) == ["many:1"]
        assert found(store, Selection(labels=(label_hash("not there"),))) == ["many:1"]
        assert found(store, Selection(not_labels=(label_hash("77"),))) == ["many:1"]


def test_what_was_read_before_a_manifest_came_is_not_taken_for_its_list(metadata: MetadataStore) -> None:
    with metadata.write() as tx:
        index = add_index(tx, "i", ["m"])
        tx.graph.listed([index])
        add_image(tx, "m")
        tx.images.put("i:1", descriptor("i", mediatypes.OCI_INDEX), 1)
    assert metadata.problems() == []
