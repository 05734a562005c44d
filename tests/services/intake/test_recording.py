"""Rows of blobs that are complete at about the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Internal
from stowage.services.gc.leases import hold
from stowage.services.intake.recording import Recorder, StoredBlob
from stowage.services.metadata.records import LayerFacts
from stowage.services.oci.digest import Digest
from tests.services.costs import Costs
from tests.waiting import poll


def blob(label: str) -> StoredBlob:
    return StoredBlob(Digest.of(label.encode()), 10, LayerFacts(Digest.of(b"tar of " + label.encode()), 20))


def recorded(engine: Engine, *labels: str) -> bool:
    with engine.metadata.read() as tx:
        digests = [blob(label).digest for label in labels]
        return tx.graph.present(digests) == tx.graph.layers(digests).keys() == set(digests)


def test_a_blob_is_recorded_with_its_facts(engine: Engine) -> None:
    Recorder(engine).record([blob("a")], {})
    assert recorded(engine, "a")


def test_what_is_complete_while_another_is_recorded_shares_a_transaction(engine: Engine, costs: Costs) -> None:
    recorder = Recorder(engine)
    with ThreadPoolExecutor() as pool:
        with recorder._writing:
            waiting = [pool.submit(recorder.record, [blob(label)], {}) for label in "abc"]
            poll(lambda: len(recorder._waiting) == 3)
            assert not any(future.done() for future in waiting)
        for future in waiting:
            future.result(timeout=10)
    assert costs.transactions == 1
    assert recorded(engine, "a", "b", "c")


def test_a_blob_whose_lease_has_ended_fails_everyone_who_shared_its_transaction(engine: Engine) -> None:
    with hold(engine.metadata, engine.content, "ended"), ThreadPoolExecutor() as pool:
        recorder, threads = Recorder(engine), threading.Barrier(2)

        def record(label: str, location: str) -> None:
            threads.wait(10)
            recorder.record([blob(label)], {blob(label).digest: location})

        with recorder._writing:
            waiting = [pool.submit(record, "a", "blobs/without-intent"), pool.submit(record, "b", "")]
            poll(lambda: len(recorder._waiting) == 2)
        for future in waiting:
            with pytest.raises(Internal, match="the lease under which a blob was written has ended"):
                future.result(timeout=10)
    assert not recorded(engine, "a")
    assert not recorded(engine, "b")
