"""What changes below images do to what is recorded of them: the same as when all is counted again, whichever way it is found."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowage.services.errors import InvalidContent
from stowage.services.metadata import reach, targets
from stowage.services.metadata.records import Edge, Kind, ManifestDocument, Role, Selection
from stowage.services.metadata.store import MetadataStore, Transaction
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from tests.engines import metadata_store
from tests.rows import BLOB_BYTES, add_image, add_index, descriptor, digest, image_facts

NUMBERS = st.integers(0, 3)
VERBS = ["image", "index", "outer", "both", "name", "untag", "refer", "resize", "lose", "sweep"]
STEPS = st.tuples(st.sampled_from(VERBS), NUMBERS, st.lists(NUMBERS, max_size=3))


def take_step(tx: Transaction, verb: str, number: int, others: list[int]) -> None:
    if verb in ("image", "index", "outer", "both"):
        record(tx, verb, number, others)
    else:
        change(tx, verb, number, others)


def record(tx: Transaction, verb: str, number: int, others: list[int]) -> None:
    if verb == "image":
        add_image(tx, f"m{number}", [f"l{other}" for other in others])
    elif verb == "index":
        add_index(tx, f"i{number}", [f"m{other}" for other in others])
    elif verb == "outer":
        add_index(tx, f"o{number}", [f"i{other}" for other in others], listed_type=mediatypes.OCI_INDEX)
    else:
        add_together(tx, number, others)


def change(tx: Transaction, verb: str, number: int, others: list[int]) -> None:
    if verb == "name":
        for label in (f"m{number}", f"i{number}", f"o{number}"):
            if tx.graph.manifest(digest(label)):
                tx.images.put(f"{label}:{len(others)}", described(label), 1)
    elif verb == "untag":
        tx.images.delete([f"{label}{number}:{len(others)}" for label in "mio"])
    elif verb == "refer" and tx.graph.manifest(digest(f"m{number}")):
        tx.graph.add_referrers({digest(f"m{number}"): [descriptor(f"m{other}") for other in others if other > number]})  # no circle
    elif verb == "resize":
        tx.graph.add_blobs({digest(f"l{other}"): BLOB_BYTES + number for other in others}, 1)
    elif verb == "lose":
        lost = digest(f"m{number}")
        if not tx.images.by_target(lost):
            tx.graph.remove([lost])
    elif verb == "sweep":
        tx.graph.remove(sorted(tx.graph.unrooted())[: len(others)])


def described(label: str) -> Descriptor:
    return descriptor(label, mediatypes.OCI_MANIFEST if label[0] == "m" else mediatypes.OCI_INDEX)


def add_together(tx: Transaction, number: int, others: list[int]) -> None:
    """An image and two indexes above it, recorded at once."""
    layers = [f"l{other}" for other in others]
    labels = [f"m{number}", f"i{number}", f"o{number}"]
    tx.graph.add_blobs({digest(label): BLOB_BYTES for label in (*labels, f"m{number}.config", *layers)}, 1)
    indexes = [
        ManifestDocument(digest(label), mediatypes.OCI_INDEX, Kind.INDEX, edges=(Edge(Role.MANIFEST, described(child)),))
        for child, label in pairwise(labels)
    ]
    tx.graph.add_manifests([(image_facts(labels[0], layers), b"{}"), *((index, None) for index in indexes)])


@settings(max_examples=50)
@given(transactions=st.lists(st.lists(STEPS, min_size=1, max_size=3), max_size=12))
def test_any_change_leaves_what_is_found_when_all_is_derived_again(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Callable[[Path], str],
    transactions: list[list[tuple[str, int, list[int]]]],
) -> None:
    store = metadata_store(empty_database(tmp_path_factory.mktemp("effects")))
    for steps in transactions:
        with store.write() as tx:
            for step in steps:
                take_step(tx, *step)
        assert store.problems() == []
    store.close()


INDEXES, ENTRIES = 40, 50


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    """A store with many indexes that list the same missing manifests."""
    with metadata.write() as tx:
        for number in range(INDEXES):
            add_index(tx, f"i{number}", [f"m{entry}" for entry in range(ENTRIES)], name=f"docker.io/library/i:{number}")
    return metadata


def test_a_missing_manifest_changes_every_image_that_lists_it(store: MetadataStore) -> None:
    with store.write() as tx:
        add_image(tx, "m0", ["layer"])
        assert {tx.usage.users([digest(label)])[digest(label)] for label in ("m0", "layer")} == {INDEXES}
        found = tx.targets.read(tx.targets.find(Selection()))
    assert {each.size for each in found} == {4 * BLOB_BYTES}
    assert {each.labels for each in found} == {'{"a":"b"}'}
    assert store.problems() == []


def test_a_missing_manifest_of_images_that_are_too_large_together_is_refused(store: MetadataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MAX_CHANGED", INDEXES * (1 + ENTRIES) - 1)
    with pytest.raises(InvalidContent, match="^the images that list a missing manifest have more than 2039 descriptors together$"):
        record_missing(store)
    monkeypatch.setattr(targets, "MAX_CHANGED", INDEXES * (1 + ENTRIES))
    record_missing(store)
    assert store.problems() == []


def record_missing(store: MetadataStore) -> None:
    with store.write() as tx:
        add_image(tx, "m0", ["layer"])


def test_a_manifest_with_which_an_image_has_too_much_is_refused(store: MetadataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "MAX_DESCRIPTORS", ENTRIES + 2)
    record_missing(store)
    too_many = f"^image .* has {ENTRIES + 4} descriptors: .* at most {ENTRIES + 2} are stored$"
    with pytest.raises(InvalidContent, match=too_many), store.write() as tx:
        add_image(tx, "m1", ["layer"])
    assert store.problems() == []


def test_an_image_that_has_too_much_already_stays_usable(metadata: MetadataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with metadata.write() as tx:
        add_image(tx, "a", ["layer"], name="docker.io/library/a:1")
        add_index(tx, "i", ["a"], name="docker.io/library/i:1")
    monkeypatch.setattr(reach, "MAX_DESCRIPTORS", 0)  # it has more even without the image
    with metadata.write() as tx:
        tx.images.put("docker.io/library/i:2", descriptor("i", mediatypes.OCI_INDEX), 1)
        tx.images.delete(["docker.io/library/i:1", "docker.io/library/a:1"])
    metadata.recount()
    assert metadata.problems() == []
    with metadata.write() as tx:
        assert [record.name for target in tx.targets.read(tx.targets.find(Selection())) for record in target.records] == [
            "docker.io/library/i:2"
        ]
        tx.graph.remove([digest("a")])
        assert tx.usage.bytes() == BLOB_BYTES
    assert metadata.problems() == []
