"""What the two stores report of their calls, and how far an operation is, and how fast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.content.protocol import ContentStore
from stowage.services.engine import Engine
from stowage.services.errors import Damaged, ImageNotFound, Internal, InvalidContent, Unavailable
from stowage.services.gc.collector import collect_expired, collect_unused
from stowage.services.images.inspect import inspect_image
from stowage.services.metadata.store import MetadataStore
from stowage.services.meter import Extent, PartCounts, Rate, seconds_left
from stowage.services.oci.digest import Digest
from tests.buckets import open_bucket
from tests.builders import load_image, simple_layout
from tests.engines import ON_EVERY_STORAGE, real_engine


class Notes:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.removals: list[int] = []
        self.sweeps = 0

    def database_call(self, transaction: str, seconds: float, error: str) -> None:
        assert seconds >= 0
        self.calls.append((transaction, error))

    def content_call(self, call: str, seconds: float, error: str) -> None:
        self.database_call(call, seconds, error)

    def removed(self, size: int) -> None:
        self.removals.append(size)

    def swept(self) -> None:
        self.sweeps += 1

    @property
    def names(self) -> set[str]:
        return {call for call, _ in self.calls}


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def timed(database_url: str, storage: str, notes: Notes, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    metadata = MetadataStore(database_url, event_history=4096, meter=notes)
    if storage == "s3":
        content = cast(ContentStore, open_bucket(tmp_path / "root", request.getfixturevalue("bucket_url"), metadata, meter=notes))
    else:
        content = FilesystemStore(tmp_path / "root", notes)
    yield real_engine(metadata, content, tmp_path / "root" / "transfers")
    metadata.close()


@ON_EVERY_STORAGE
def test_a_load_is_timed(timed: Engine, notes: Notes) -> None:
    load_image(timed, simple_layout().to_tar())
    assert inspect_image(timed, "simple").repo_tags == ("simple:latest",)
    assert notes.names == {"read", "write", "publish", "open"}
    assert {error for _, error in notes.calls} == {""}


def test_each_call_is_noted(timed: Engine, notes: Notes) -> None:
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
    assert notes.removals == [3, 7]


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


@ON_EVERY_STORAGE
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


def test_nothing_is_known_before_anything_is_expected() -> None:
    assert PartCounts().extent() == Extent(0, None, 0)


def test_parts_are_added_up() -> None:
    parts = PartCounts()
    parts.expect({"a": 100, "b": 50})
    parts.reach("a", 30)
    assert (parts.extent(), parts.running()) == (Extent(30, 150, 30), [("a", 30, 100)])
    parts.reach("a", 100)
    parts.finish("a")
    assert (parts.extent(), parts.running()) == (Extent(100, 150, 100), [])
    parts.finish("b")
    assert parts.extent() == Extent(150, 150, 100)


def test_what_is_reached_without_being_moved_does_not_count_for_the_rate() -> None:
    parts = PartCounts()
    parts.expect({"resumed": 100})
    parts.skip(60)
    parts.reach("resumed", 70)
    assert parts.extent() == Extent(70, 100, 10)


def test_a_part_that_begins_again_takes_back_what_it_had_reached() -> None:
    parts = PartCounts()
    parts.expect({"a": 100})
    parts.reach("a", 80)
    parts.reach("a", 5)
    assert parts.extent() == Extent(5, 100, 5)


def test_a_part_that_turns_out_not_to_be_needed_is_not_counted() -> None:
    parts = PartCounts()
    parts.expect({"there": 100, "missing": 10})
    parts.drop("there")
    parts.finish("there")
    assert parts.extent() == Extent(0, 10, 0)


def test_what_is_not_expected_changes_nothing() -> None:
    parts = PartCounts()
    parts.reach("manifest", 7)
    parts.finish("manifest")
    assert parts.extent() == Extent(0, None, 0)


def test_parts_that_are_finished_take_no_memory() -> None:
    parts = PartCounts()
    for number in range(1000):
        parts.expect({str(number): 1})
        parts.reach(str(number), 1)
        parts.finish(str(number))
    assert (parts._sizes, parts._reached, parts.extent().done) == ({}, {}, 1000)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate(began=100.0)
    assert rate.at(100.0, 0) == 0
    assert [rate.at(100.0 + second, 1000 * second) for second in range(1, 21)] == [1000] * 20
    assert [rate.at(120.0 + second, 20_000) for second in (5, 10, 15)] == [500, 0, 0]


def test_a_rate_is_never_negative() -> None:
    rate = Rate(began=0.0)
    rate.at(1.0, 500)
    assert rate.at(2.0, 0) == 0
    assert rate.at(13.0, 0) == 0


def test_the_time_left() -> None:
    assert seconds_left(Extent(40, 100, 40), 25) == 3
    assert seconds_left(Extent(100, 100, 100), 0) == 0
    assert seconds_left(Extent(40, 100, 40), 0) is None
    assert seconds_left(Extent(40, None, 40), 25) is None
