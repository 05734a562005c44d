"""Small blobs in batches: few transactions, the same blobs and facts, and nobody held up."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, OutOfSpace
from stowage.services.gc.collector import collect_garbage
from stowage.services.gc.leases import Lease, hold
from stowage.services.intake.ingest import store_blob
from stowage.services.intake.small_blobs import SmallBlobs
from stowage.services.oci.digest import Digest
from tests.builders import compress, make_layer
from tests.services.costs import Costs

LAYERS = [make_layer(f"layer {number}") for number in range(3)]
CONTENTS = [b"%d" % number for number in range(300)] + LAYERS + [compress(layer, "gzip") for layer in LAYERS]


@pytest.fixture
def lease(engine: Engine) -> Iterator[Lease]:
    with hold(engine.metadata, engine.content, "test") as lease:
        yield lease


def add_all(engine: Engine, lease: Lease) -> None:
    blobs = SmallBlobs(engine, lease)
    for content in CONTENTS:
        assert blobs.add(content).digest == Digest.of(content)
    blobs.flush()


def test_all_are_stored_with_their_facts_as_one_alone_is(engine: Engine, lease: Lease) -> None:
    blobs = SmallBlobs(engine, lease)
    batched = [blobs.add(content) for content in CONTENTS]
    blobs.flush()
    assert [store_blob(engine, lease, [content]) for content in CONTENTS] == batched
    with engine.metadata.read() as tx:
        assert tx.graph.all_blobs() == {Digest.of(content): len(content) for content in CONTENTS}
        assert len(tx.graph.layers(map(Digest.of, CONTENTS))) == 6
    assert dict(engine.content.blobs()) == {Digest.of(content): len(content) for content in CONTENTS}


def test_hundreds_take_a_few_transactions(engine: Engine, lease: Lease, costs: Costs) -> None:
    add_all(engine, lease)
    assert costs.transactions <= 12
    assert costs.syncs <= len(CONTENTS) + 12


def test_what_is_here_is_not_written_again(engine: Engine, lease: Lease, costs: Costs) -> None:
    add_all(engine, lease)
    costs.syncs = 0
    add_all(engine, lease)
    assert costs.syncs == 0


def test_a_blob_that_another_has_in_hand_is_waited_for_alone(engine: Engine, lease: Lease) -> None:
    blobs = SmallBlobs(engine, lease)
    for content in (b"free", b"taken"):
        blobs.add(content)
    storing = threading.Thread(target=blobs.flush)
    with engine.content.ingest(str(Digest.of(b"taken"))):
        storing.start()
        while engine.content.size(Digest.of(b"free")) is None:
            assert storing.is_alive()
        assert engine.content.size(Digest.of(b"taken")) is None
    storing.join(10)
    with engine.metadata.read() as tx:
        assert tx.graph.present([Digest.of(b"free"), Digest.of(b"taken")]) == {Digest.of(b"free"), Digest.of(b"taken")}


def test_one_that_lies_is_refused_by_itself(engine: Engine, lease: Lease) -> None:
    blobs = SmallBlobs(engine, lease)
    blobs.add(b"true")
    with pytest.raises(InvalidContent, match="^unexpected commit digest"):
        blobs.add(b"false", digest=Digest.of(b"other"))
    blobs.flush()
    assert [digest for digest, _ in engine.content.blobs()] == [Digest.of(b"true")]


def test_rows_that_cannot_be_written_leave_files_that_a_collection_removes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OutOfSpace("no space left on device")

    monkeypatch.setattr("stowage.services.metadata.graph.Graph.add_blobs", full)
    with pytest.raises(OutOfSpace), hold(engine.metadata, engine.content, "test") as lease:
        add_all(engine, lease)
    monkeypatch.setattr("stowage.services.gc.collector.ORPHAN_GRACE_SECONDS", -1)
    collect_garbage(engine.metadata, engine.content)
    assert (list(engine.content.blobs()), list(engine.content.partials())) == ([], [])
