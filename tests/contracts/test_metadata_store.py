"""What every metadata store does, whatever database is under it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowage.services.errors import BlobNotFound, Internal
from stowage.services.metadata.records import LayerFacts, Selection
from stowage.services.metadata.store import MetadataStore, Transaction, upgrade
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from tests.contracts.metadata import ALIVE, digests
from tests.engines import PLATFORM, metadata_store
from tests.listings import all_manifests, all_records
from tests.rows import BLOB_BYTES, add_blobs, add_image, add_index, descriptor, digest, image_facts

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    return metadata


def test_a_store_keeps_its_id_and_no_other_has_it(store: MetadataStore, other_store: MetadataStore, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/another.db"
    upgrade(url, PLATFORM)
    another = metadata_store(url)
    given = another.store_id()
    upgrade(url, PLATFORM)
    assert re.fullmatch("[0-9a-f]{32}", given)
    assert another.store_id() == given != store.store_id() == other_store.store_id()
    another.close()


class TestImages:
    def test_a_record_comes_back_as_it_was_put(self, store: MetadataStore) -> None:
        target = Descriptor(
            mediatypes.OCI_MANIFEST,
            digest("m"),
            BLOB_BYTES,
            annotations={"k": "v \u2028 ü"},
            urls=("https://example.org/m",),
            platform=Platform("windows", "amd64", "", "10.0.17763.1", ("win32k",)),
            artifact_type="application/x",
            data="e30=",
        )
        with store.write() as tx:
            add_image(tx, "m")
            tx.images.put("docker.io/library/a:1", target, 7)
            record = tx.images.get("docker.io/library/a:1")
        assert record is not None
        assert (record.name, record.target, record.created_at, record.updated_at) == ("docker.io/library/a:1", target, 7, 7)

    def test_updated_at_follows_the_target(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m")
            add_image(tx, "n")
            tx.images.put("a:1", descriptor("m"), 1)
            tx.images.put("a:1", descriptor("m"), 2)
            same = tx.images.get("a:1")
            tx.images.put("a:1", descriptor("n"), 3)
            other = tx.images.get("a:1")
        assert same is not None
        assert other is not None
        assert (same.created_at, same.updated_at) == (1, 1)
        assert (other.created_at, other.updated_at) == (1, 3)
        assert other.target.digest == digest("n")

    def test_a_repository_is_found_without_its_longer_and_upper_case_neighbours(self, store: MetadataStore) -> None:
        names = ["r.io/a:1", "r.io/a:2", "r.io/ab:1", "r.io/a/b:1", "R.io/a:3", "r.io/a@sha256:1", "r.io/_:1", "r.io/x:1"]
        with store.write() as tx:
            add_image(tx, "m")
            for name in names:
                tx.images.put(name, descriptor("m"), 1)
            assert [record.name for record in tx.images.in_repository("r.io/a")] == ["r.io/a:1", "r.io/a:2"]
            assert [record.name for record in tx.images.in_repository("r.io/_")] == ["r.io/_:1"]

    @pytest.mark.parametrize("length", [4, 12, 63, 64])
    def test_a_prefix_of_the_id_finds_the_first_name(self, store: MetadataStore, length: int) -> None:
        with store.write() as tx:
            add_image(tx, "m", name="b:1")
            tx.images.put("a:1", descriptor("m"), 1)
            add_image(tx, "n", name="c:1")
            assert [record.name for record in tx.images.by_id_prefix(digest("m").hex[:length])] == ["a:1"]
            assert [record.name for record in tx.images.by_target(digest("m"))] == ["a:1", "b:1"]
            assert [record.name for record in tx.images.by_target(digest("m"), most=1)] == ["a:1"]

    def test_count_is_of_targets(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m", name="a:1")
            tx.images.put("a:2", descriptor("m"), 1)
            assert tx.images.count() == 1
            tx.images.delete(["a:2", "unknown:1"])
            assert [record.name for record in tx.images.by_target(digest("m"))] == ["a:1"]
            assert tx.images.count() == 1
            tx.images.delete([])
            tx.images.delete(["a:1"])
            assert tx.images.count() == 0

    def test_a_target_that_is_no_recorded_manifest_is_refused(self, store: MetadataStore) -> None:
        with pytest.raises(Internal), store.write() as tx:
            tx.images.put("a:1", descriptor("nowhere"), 1)

    def test_a_target_cannot_be_removed(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m", ["l"], name="a:1")
        for label in ("m", "l", "m.config"):
            with pytest.raises(Internal), store.write() as tx:
                tx.graph.remove([digest(label)])
        with store.read() as tx:
            assert tx.graph.present([digest("m"), digest("l"), digest("m.config")]) == {digest("m"), digest("l"), digest("m.config")}


class TestGraph:
    def test_facts_come_back_as_they_were_recorded(self, store: MetadataStore) -> None:
        recorded = image_facts("m", ["l", "k", "l"])
        with store.write() as tx:
            add_image(tx, "m", ["l", "k", "l"])
            facts = tx.graph.manifest(digest("m"))
            assert tx.graph.config(digest("m")) == b"{}"
            assert tx.graph.config(digest("l")) is None
        assert facts is not None
        for field in ("media_type", "kind", "platform", "created", "labels", "edges"):
            assert getattr(facts, field) == getattr(recorded, field)
        assert _content_sizes(store, "m") == {"m": 4 * BLOB_BYTES}

    def test_recording_again_changes_nothing(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m", ["l"])
        before = all_records(store), {digest: astuple(facts) for digest, facts in all_manifests(store).items()}
        with store.write() as tx:
            add_image(tx, "m", ["l"])
            tx.graph.add_blob(digest("l"), BLOB_BYTES, 2)
            tx.graph.add_layer(digest("l"), LayerFacts(digest("other"), 1))
            assert tx.graph.layers([digest("l")]) == {digest("l"): LayerFacts(digest("l.tar"), 2 * BLOB_BYTES)}
            assert tx.graph.blob_sizes([digest("l")]) == {digest("l"): BLOB_BYTES}
        assert before == (all_records(store), {digest: astuple(facts) for digest, facts in all_manifests(store).items()})

    @pytest.mark.parametrize("lost", ["m.config", "l"])
    def test_a_manifest_without_its_blobs_is_refused(self, store: MetadataStore, lost: str) -> None:
        with store.write() as tx:
            add_blobs(tx, {"m", "m.config", "l"} - {lost})
        with pytest.raises(BlobNotFound, match="missing blob"), store.write() as tx:
            tx.graph.add_manifest(image_facts("m", ["l"]), b"{}")

    def test_several_manifests_are_recorded_together_or_not_at_all(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_blobs(tx, ["m", "m.config", "n", "n.config", "o", "o.config"])
            add_index(tx, "index", ["m", "n"])
        several = [(image_facts(label, []), b"{}") for label in ("m", "n", "m")]
        for _ in range(2):
            with store.write() as tx:
                tx.graph.add_manifests(several)
                tx.graph.add_manifests([])
        assert _content_sizes(store, "m", "n", "index") == {"m": 20, "n": 20, "index": 50}
        with pytest.raises(BlobNotFound, match=f"missing blob {digest('lost.config')} of manifest {digest('lost')}"), store.write() as tx:
            tx.graph.add_manifests([(image_facts(label, []), b"{}") for label in ("o", "lost")])
        assert all_manifests(store).keys() == digests("m", "n", "index")

    def test_a_foreign_layer_may_be_absent_and_come_later(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_blobs(tx, ["m", "m.config"])
            tx.graph.add_manifest(image_facts("m", ["l"], layer_type=FOREIGN), b"{}")
            tx.images.put("a:1", descriptor("m"), 1)
        assert _content_sizes(store, "m") == {"m": 2 * BLOB_BYTES}
        with store.write() as tx:
            add_blobs(tx, ["l"])
        assert _content_sizes(store, "m") == {"m": 3 * BLOB_BYTES}

    def test_the_blob_recorded_first_stands_for_a_diff_id(self, store: MetadataStore) -> None:
        with store.write() as tx:
            for age, label in enumerate(["gzip", "zstd", "estargz"]):
                tx.graph.add_blob(digest(label), 1, age)
                tx.graph.add_layer(digest(label), LayerFacts(digest("tar"), 9))
            assert tx.graph.by_diff_id([digest("tar"), digest("unknown")]) == {digest("tar"): digest("gzip")}

    def test_content_size_counts_each_present_blob_once_and_follows_an_index(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "amd64", ["base", "own"])
            add_index(tx, "inner", ["amd64", "arm64"])
            add_index(tx, "outer", ["inner"])
        sizes = _content_sizes(store, "amd64", "inner", "outer")
        assert sizes == {"amd64": 40, "inner": 50, "outer": 60}
        with store.write() as tx:
            add_image(tx, "arm64", ["base"])
        assert _content_sizes(store, "inner", "outer") == {"inner": 70, "outer": 80}
        with store.write() as tx:
            tx.graph.remove([digest("arm64")])
        assert _content_sizes(store, "inner", "outer") == {"inner": 50, "outer": 60}

    def test_removing_a_layer_forgets_the_manifest_that_needs_it_but_not_its_blob(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m", ["l"])
            add_index(tx, "i", ["m"])
            tx.graph.remove([digest("l")])
            assert tx.graph.manifest(digest("m")) is None
            assert tx.graph.config(digest("m")) is None
            assert set(tx.graph.all_blobs()) == {digest("m"), digest("m.config"), digest("i")}
            assert tx.graph.layers([digest("l")]) == {}
        assert _content_sizes(store, "i") == {"i": 20}

    def test_reachability(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "amd64", ["base", "own"])
            add_index(tx, "index", ["amd64", "absent"], name="a:1")
            add_image(tx, "loose", ["base", "other"])
            assert tx.graph.descendants([digest("index")]) == digests("index", "amd64", "amd64.config", "base", "own", "absent")
            every = digests("index", "amd64", "amd64.config", "base", "own", "absent", "loose", "loose.config", "other", "unknown")
            assert tx.graph.rooted(every) == digests("index", "amd64", "amd64.config", "base", "own", "absent")
            assert tx.graph.unrooted() == digests("loose", "loose.config", "other")
            lease = tx.leases.create("test", **ALIVE)
            tx.leases.add(lease, [digest("loose")])
            assert tx.graph.unrooted() == set()
            assert tx.graph.rooted(every) == every - digests("unknown")

    def test_ancestors_are_everything_above(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "amd64", ["base"])
            add_image(tx, "arm64", ["base"])
            add_index(tx, "index", ["amd64", "absent"])
            add_index(tx, "nested", ["index"], name="a:1")
            assert tx.graph.ancestors([digest("base")]) == digests("base", "amd64", "arm64", "index", "nested")
            assert tx.graph.ancestors([digest("absent"), digest("arm64")]) == digests("absent", "arm64", "index", "nested")
            assert tx.graph.ancestors([digest("nested")]) == digests("nested")
            assert tx.graph.ancestors([]) == set()

    def test_a_blob_deep_below_an_image_is_rooted(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "0", ["layer"])
            for depth in range(1, 6):
                add_index(tx, str(depth), [str(depth - 1)])
            assert tx.graph.rooted([digest("layer")]) == set()
            tx.images.put("a:1", descriptor("5"), 1)
            assert tx.graph.rooted([digest("layer")]) == {digest("layer")}

    def test_shared_sizes(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "a", ["base", "base", "a1"], name="a:1")
            add_image(tx, "b", ["base", "b1"])
            add_image(tx, "c", ["base"])
            add_image(tx, "d", [], name="d:1")
        assert shared(store) == {digest("a"): 0, digest("d"): 0}
        with store.write() as tx:
            tx.images.put("b:1", descriptor("b"), 1)
        assert shared(store) == {digest("a"): 10, digest("b"): 10, digest("d"): 0}

    def test_a_referrer_is_kept_with_its_subject_and_is_no_part_of_it(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_image(tx, "m", ["l"], name="a:1")
            add_image(tx, "r", ["s"])
            edges = tx.graph.manifests([digest("m")])[digest("m")].edges
            for _ in range(2):
                tx.graph.add_referrers({digest("m"): [descriptor("r"), descriptor("gone")]})
        with store.write() as tx:
            assert tx.graph.referrers(digest("m")) == [descriptor("r"), descriptor("gone")]
            assert tx.graph.rooted([digest("s")]) == digests("s")
            assert tx.graph.manifests([digest("m")])[digest("m")].edges == edges
            assert tx.graph.content_sizes([digest("m")]) == {digest("m"): 6 * BLOB_BYTES}
            tx.graph.remove([digest("r")])
            assert tx.graph.manifest(digest("m")) is not None
            tx.images.delete(["a:1"])
            tx.graph.remove([digest("m")])
            assert tx.graph.referrers(digest("m")) == []
        assert store.problems() == []

    def test_more_digests_than_one_list_holds(self, store: MetadataStore) -> None:
        labels = [str(number) for number in range(1300)]
        with store.write() as tx:
            add_blobs(tx, labels)
            everything = set(map(digest, labels))
            assert tx.graph.present(everything | {digest("absent")}) == everything
            assert tx.graph.rooted(everything) == set()
            assert tx.graph.descendants(everything) == everything
            tx.graph.remove(everything)
            assert tx.graph.all_blobs() == {}


class TestSources:
    def test_repositories_are_those_of_one_registry(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_blobs(tx, ["a", "b"])
            tx.sources.add([digest("a"), digest("b")], registry="one:5000", repository="team/z")
            tx.sources.add([digest("a")], registry="one:5000", repository="team/app")
            tx.sources.add([digest("a")], registry="one", repository="other")
        with store.read() as tx:
            found = tx.sources.repositories([digest("a"), digest("b"), digest("c")], registry="one:5000")
        assert found == {digest("a"): ["team/app", "team/z"], digest("b"): ["team/z"]}

    def test_names_are_those_of_every_registry(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_blobs(tx, ["a", "b"])
            for registry, repository in (("two", "app"), ("one:5000", "team/z"), ("one:5000", "team/app")):
                tx.sources.add([digest("a")], registry=registry, repository=repository)
        with store.read() as tx:
            assert tx.sources.names([digest("a"), digest("b")]) == {digest("a"): ["one:5000/team/app", "one:5000/team/z", "two/app"]}

    def test_recording_again_changes_nothing(self, store: MetadataStore) -> None:
        for _ in range(2):
            with store.write() as tx:
                add_blobs(tx, ["a"])
                tx.sources.add([digest("a"), digest("a")], registry="one", repository="app")
        with store.read() as tx:
            assert tx.sources.repositories([digest("a")], registry="one") == {digest("a"): ["app"]}

    def test_what_is_absent_has_no_source(self, store: MetadataStore) -> None:
        with store.write() as tx:
            tx.sources.add([digest("a")], registry="one", repository="app")
            add_blobs(tx, ["a"])
            assert tx.sources.repositories([digest("a")], registry="one") == {}

    def test_sources_go_with_their_blob(self, store: MetadataStore) -> None:
        with store.write() as tx:
            add_blobs(tx, ["a"])
            tx.sources.add([digest("a")], registry="one", repository="app")
            tx.graph.remove([digest("a")])
            add_blobs(tx, ["a"])
            assert tx.sources.repositories([digest("a")], registry="one") == {}


LABELS = st.integers(0, 5)


@settings(max_examples=25)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["image", "index", "name", "untag", "refer", "sweep"]), LABELS, st.lists(LABELS, max_size=3)), max_size=14
    )
)
def test_what_is_derived_agrees_with_a_model(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Callable[[Path], str], steps: list[tuple[str, int, list[int]]]
) -> None:
    """Whatever is recorded, named and removed: sizes, roots and targets are what plain sets say, and what they are when counted again."""
    url = empty_database(tmp_path_factory.mktemp("model"))
    store = metadata_store(url)
    for verb, number, others in steps:
        with store.write() as tx:
            take_step(tx, verb, number, others)
            everything = set(tx.graph.all_blobs())
            roots = {record.target.digest for number in range(6) if (record := tx.images.get(f"n{number}"))}
            reached = {root: tx.graph.descendants([root]) & everything for root in roots}
            kept = set().union(*reached.values())
            assert tx.graph.rooted(everything) == kept
            assert tx.graph.unrooted() == tx.graph.unused() == everything - kept
            for each, size in tx.graph.content_sizes(tx.graph.manifests(everything)).items():
                assert size == BLOB_BYTES * len(tx.graph.descendants([each]) & everything)
        assert store.problems() == []
        with store.read() as tx:
            assert tx.usage.bytes() == BLOB_BYTES * len(kept)
        users = Counter(chain.from_iterable(reached.values()))
        assert shared(store) == {root: BLOB_BYTES * sum(users[blob] > 1 for blob in blobs) for root, blobs in reached.items()}
    store.close()


def take_step(tx: Transaction, verb: str, number: int, others: list[int]) -> None:
    """Do what one step of the model says, as far as its manifest is there or not."""
    if verb == "image" and tx.graph.manifest(digest(f"m{number}")) is None:
        add_image(tx, f"m{number}", [f"l{other}" for other in others])
    elif verb == "index" and tx.graph.manifest(digest(f"i{number}")) is None:
        add_index(tx, f"i{number}", [f"m{other}" for other in others])
    elif verb == "name":
        for label, name in zip(("m", "i"), [number, *others], strict=False):
            if tx.graph.manifest(digest(f"{label}{number}")):
                tx.images.put(f"n{name}", descriptor(f"{label}{number}"), 1)
    elif verb == "untag":
        tx.images.delete([f"n{number}"])
    elif verb == "refer" and tx.graph.manifest(digest(f"m{number}")):
        tx.graph.add_referrers({digest(f"m{number}"): [descriptor(f"m{other}") for other in others if other > number]})  # no circle
    elif verb == "sweep":
        tx.graph.remove(sorted(tx.graph.unrooted())[: len(others)])


def _content_sizes(store: MetadataStore, *labels: str) -> dict[str, int]:
    with store.read() as tx:
        sizes = tx.graph.content_sizes(list(map(digest, labels)))
    return {label: sizes[digest(label)] for label in labels}


def shared(store: MetadataStore) -> dict[Digest, int]:
    """The bytes of each image that others also have: the same, whether they are looked up or counted in one pass."""
    with store.read() as tx:
        ids = tx.targets.find(Selection())
        found = tx.usage.shared(ids)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stowage.services.metadata.usage._MANY", -1)
            assert tx.usage.shared(ids) == {each: size for each, size in found.items() if size}
        return {target.digest: found.get(target.id, 0) for target in tx.targets.read(ids)}
