"""Rows of blobs that are complete at about the same time."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Internal, RegistryFailure
from stowage.services.gc.leases import hold
from stowage.services.intake import recording
from stowage.services.intake.recording import Recorder, StoredBlob
from stowage.services.metadata.records import LayerFacts
from stowage.services.oci.digest import Digest
from tests.services.costs import Costs
from tests.waiting import poll

LONG = 60


def blob(label: str) -> StoredBlob:
    return StoredBlob(Digest.of(label.encode()), 10, LayerFacts(Digest.of(b"tar of " + label.encode()), 20))


def recorded(engine: Engine, *labels: str) -> bool:
    with engine.metadata.read() as tx:
        digests = [blob(label).digest for label in labels]
        return tx.graph.present(digests) == tx.graph.layers(digests).keys() == set(digests)


def add(recorder: Recorder, label: str, location: str = "") -> list[str]:
    """Add a blob; returns what is filled when the blob need not be held any more."""
    released: list[str] = []
    held = ExitStack()
    held.callback(released.append, label)
    recorder.add([blob(label)], {blob(label).digest: location}, held)
    return released


def test_what_is_complete_within_a_moment_is_recorded_in_one_transaction(
    engine: Engine, costs: Costs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_MOMENT_SECONDS", LONG)
    with recording.recording(engine) as recorder:
        released = [add(recorder, label) for label in "abc"]
        assert released == [[], [], []]
    assert released == [["a"], ["b"], ["c"]]
    assert costs.transactions == 1
    assert recorded(engine, "a", "b", "c")


def test_nothing_waits_longer_than_a_moment(engine: Engine) -> None:
    with recording.recording(engine) as recorder:
        released = add(recorder, "a")
        poll(lambda: released)
        assert recorded(engine, "a")


@pytest.mark.parametrize(("limit", "most"), [("_MOST_BYTES", 20), ("_MOST_BLOBS", 2)])
def test_no_more_wait_than_may_be_fetched_again(engine: Engine, monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    monkeypatch.setattr(recording, "_MOMENT_SECONDS", LONG)
    monkeypatch.setattr(recording, limit, most)
    with recording.recording(engine) as recorder:
        add(recorder, "a")
        released = add(recorder, "b")
        poll(lambda: released)
        assert recorded(engine, "a", "b")


def test_what_is_complete_is_recorded_when_the_operation_fails(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_MOMENT_SECONDS", LONG)
    with suppress(RegistryFailure), recording.recording(engine) as recorder:
        add(recorder, "a")
        raise RegistryFailure("broken")
    assert recorded(engine, "a")


def test_what_is_complete_after_the_end_is_recorded_at_once(engine: Engine) -> None:
    with recording.recording(engine) as recorder:
        pass
    assert add(recorder, "late") == ["late"]
    assert recorded(engine, "late")


def test_a_blob_whose_lease_has_ended_fails_the_operation_and_is_released(engine: Engine) -> None:
    with hold(engine.metadata, engine.content, "ended"):
        recorder = Recorder(engine)
        released = add(recorder, "a", location="blobs/without-intent")
        poll(lambda: released)
        for raising in (recorder.check, recorder.close):
            with pytest.raises(Internal, match="the lease under which a blob was written has ended"):
                raising()
    assert not recorded(engine, "a")
