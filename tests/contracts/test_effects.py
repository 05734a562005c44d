"""What changes below images do to what is recorded of them: the same as when all is counted again, whichever way it is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from stowage.services.metadata import effects, upkeep
from stowage.services.metadata.records import Edge, Kind, ManifestDocument, Role, Selection
from stowage.services.metadata.store import MetadataStore, Transaction
from stowage.services.metadata.tables import target
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
        tx.graph.add_referrers({digest(f"m{number}"): [descriptor(f"m{other}") for other in others]})
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


def outdated(tx: Transaction) -> int:
    return tx.graph._connection.scalars(select(func.count()).where(target.c.outdated)).one()


@pytest.mark.parametrize("way", ["up", "down", "as it is cheaper"])
@settings(max_examples=30)
@given(transactions=st.lists(st.lists(STEPS, min_size=1, max_size=3), max_size=12), room=st.sampled_from([1, 20_000]))
def test_any_change_leaves_what_is_found_when_all_is_counted_again(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Callable[[Path], str],
    way: str,
    transactions: list[list[tuple[str, int, list[int]]]],
    room: int,
) -> None:
    store = metadata_store(empty_database(tmp_path_factory.mktemp("effects")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "MAX_LINKS", room)
        if way != "as it is cheaper":
            patch.setattr(effects, "_count", lambda _, query, __: int((query is effects._COUNT_ABOVE) == (way == "down")))
        for steps in transactions:
            with store.write() as tx:
                for step in steps:
                    take_step(tx, *step)
            assert store.problems() == []
            with store.read() as tx:
                assert outdated(tx) == 0
    store.close()


FEW_LINKS, ENTRIES, INDEXES = 200, 50, 40


@pytest.fixture
def store(metadata: MetadataStore, monkeypatch: pytest.MonkeyPatch) -> MetadataStore:
    """A store with many indexes that each list the same missing manifests themselves, and that derives few links at once."""
    with metadata.write() as tx:
        for number in range(INDEXES):
            add_index(tx, f"i{number}", [f"m{entry}" for entry in range(ENTRIES)], name=f"docker.io/library/i:{number}")
    monkeypatch.setattr(upkeep, "MAX_LINKS", FEW_LINKS)
    return metadata


def shown(tx: Transaction, numbers: Iterable[int]) -> set[str | None]:
    return set(tx.graph._connection.scalars(select(target.c.shown).where(target.c.digest.in_([str(digest(f"i{n}")) for n in numbers]))))


def test_sizes_are_right_at_once_and_lists_when_the_writer_is_done(store: MetadataStore) -> None:
    with store.write() as tx:
        add_image(tx, "m0", ["layer"])
        tx.upkeep.flush()
        assert outdated(tx) == INDEXES
        assert {tx.usage.users([digest("layer")])[digest("layer")], tx.usage.users([digest("m0")])[digest("m0")]} == {INDEXES}
        assert {each.size for each in tx.targets.read(tx.targets.find(Selection()))} == {4 * BLOB_BYTES}
    with store.read() as tx:
        assert outdated(tx) == 0
        assert shown(tx, range(INDEXES)) == {str(digest("m0"))}
    assert store.problems() == []


def leave_outdated(store: MetadataStore) -> None:
    """Change what the indexes list, as a writer that is killed right after its commit."""
    with store._transaction(writes=True) as tx:
        add_image(tx, "m0", ["layer"])
    with store.read() as tx:
        assert outdated(tx) > 0


def test_what_a_killed_writer_left_is_no_damage_and_mended_by_the_next_process(store: MetadataStore, other_store: MetadataStore) -> None:
    leave_outdated(store)
    assert store.problems() == []
    with other_store.write():
        pass
    with store.read() as tx:
        assert (outdated(tx), shown(tx, range(INDEXES))) == (0, {str(digest("m0"))})
    assert store.problems() == []


def test_counting_again_mends_it_too(store: MetadataStore) -> None:
    leave_outdated(store)
    store.recount()
    with store.read() as tx:
        assert (outdated(tx), shown(tx, range(INDEXES))) == (0, {str(digest("m0"))})
    assert store.problems() == []


def test_what_one_image_lists_is_derived_in_a_transaction_of_its_own_if_it_is_much(metadata: MetadataStore) -> None:
    def add(number: int) -> int:
        with metadata._transaction(writes=True) as tx:
            add_image(tx, f"m{number}")
            tx.upkeep.flush()
            return outdated(tx)

    with metadata.write() as tx:
        add_index(tx, "i", [f"m{entry}" for entry in range(ENTRIES)], name="i:1")
    assert add(0) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "MAX_LINKS", ENTRIES - 1)
        assert add(1) == 1
    metadata.recount()
    assert metadata.problems() == []
