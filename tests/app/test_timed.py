"""The calls of a store that are timed, over a real engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stowage.app.timed import timed_content, timed_metadata
from stowage.services.engine import Engine
from stowage.services.errors import Damaged, ImageNotFound, Internal, InvalidContent, Unavailable
from stowage.services.gc.collector import collect_expired, collect_unused
from stowage.services.images.inspect import inspect_image
from stowage.services.oci.digest import Digest
from tests.builders import load_image, simple_layout


class Notes:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.removed: list[int] = []
        self.sweeps = 0

    def note(self, call: str, seconds: float, error: str) -> None:
        assert seconds >= 0
        self.calls.append((call, error))

    def swept(self) -> None:
        self.sweeps += 1

    @property
    def names(self) -> set[str]:
        return {call for call, _ in self.calls}


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def timed(engine: Engine, notes: Notes) -> Engine:
    content = timed_content(engine.content, notes.note, notes.removed.append)
    return replace(engine, content=content, metadata=timed_metadata(engine.metadata, notes.note, notes.swept))


def test_an_engine_works_as_without(timed: Engine, notes: Notes) -> None:
    load_image(timed, simple_layout().to_tar())
    assert inspect_image(timed, "simple").repo_tags == ("simple:latest",)
    assert notes.names == {"read", "write", "publish", "open"}
    assert {error for _, error in notes.calls} == {""}


def test_a_partial_blob_goes_through(timed: Engine, notes: Notes) -> None:
    with timed.content.ingest("key") as ingest:
        ingest.write(b"abc")
        assert ingest.offset == 3
        digest = ingest.commit()
    with timed.content.open(digest) as blob:
        assert blob.read() == b"abc"
    with timed.content.publish({Digest.of(b"small"): b"small"}) as published:
        assert published.keys() == {Digest.of(b"small")}
    with timed.content.locked(digest):
        timed.content.delete([digest])
    timed.content.delete([digest])
    with timed.content.ingest("kept") as ingest:
        ingest.write(b"partial")
        ingest.keep()
    assert timed.content.discard_partial("kept") == 7
    assert timed.content.discard_partial("kept") == 0
    assert notes.calls == [("commit", ""), ("open", ""), ("publish", ""), ("delete", ""), ("delete", "")]
    assert notes.removed == [3, 7]


@pytest.mark.parametrize(
    ("error", "noted"),
    [(Internal("x"), "Internal"), (Unavailable("x"), "Unavailable"), (Damaged("x"), ""), (ImageNotFound("x"), ""), (KeyError("x"), "")],
)
def test_an_error_counts_if_it_is_the_stores(timed: Engine, notes: Notes, error: Exception, noted: str) -> None:
    with pytest.raises(type(error)), timed.metadata.read():
        raise error
    assert notes.calls == [("read", noted)]


def test_a_transaction_that_cannot_begin_counts(timed: Engine, notes: Notes, tmp_path: Path) -> None:
    timed.metadata.close()
    for path in (tmp_path / "root").glob("stowage.db*"):
        path.unlink()
    (tmp_path / "root" / "stowage.db").mkdir()
    with pytest.raises(Internal), timed.metadata.write():
        pass
    assert notes.calls == [("write", "Internal")]


def test_a_refused_commit_is_no_error_of_the_store(timed: Engine, notes: Notes) -> None:
    with timed.content.ingest("key") as ingest:
        ingest.write(b"abc")
        with pytest.raises(InvalidContent):
            ingest.commit(Digest.of(b"other"))
    assert notes.calls == [("commit", "")]


def test_a_sweep_is_counted_when_it_has_ended(timed: Engine, notes: Notes) -> None:
    assert timed.metadata.counts().swept_at is None
    collect_expired(timed.metadata, timed.content)
    assert (notes.sweeps, timed.metadata.counts().swept_at) == (0, None), "there was nothing to do"
    collect_unused(timed.metadata, timed.content)
    assert notes.sweeps == 1
    with timed.metadata.write() as tx:
        tx.leases.add(tx.leases.create("expired", alive=0, expires=0), [Digest.of(b"gone")])
    collect_expired(timed.metadata, timed.content)
    assert notes.sweeps == 2


def test_a_sweep_that_fails_is_not_counted(timed: Engine, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise Internal("the disk fails")

    monkeypatch.setattr(timed.content, "partials", fail)
    with pytest.raises(Internal):
        collect_unused(timed.metadata, timed.content)
    assert notes.sweeps == 0
