"""Blobs on their way in: one transaction each, verified, with their facts, and nothing left of what fails."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from stowage.services.content.bucket import PART_BYTES
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, OutOfSpace, Unavailable
from stowage.services.gc.leases import Lease, hold
from stowage.services.intake.ingest import _has_row, store_blob, store_bytes
from stowage.services.metadata.records import LayerFacts
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest
from tests.buckets import open_bucket
from tests.builders import make_tar
from tests.engines import LIMITS, ON_EVERY_DATABASE, real_engine
from tests.services.intake.fetching import fetch_blob
from tests.waiting import poll

PLAIN = make_tar({"file": random.Random(1).randbytes(3_000_000)})
STORED = gzip.compress(PLAIN, 1)
DIGEST = Digest.of(STORED)
FACTS = LayerFacts(Digest.of(PLAIN), len(PLAIN))


class Stream:
    """A registry's answer: the blob from `offset` on, breaking after `limit` bytes where one is given."""

    def __init__(self, content: bytes, offset: int, limit: int | None = None) -> None:
        self.offset = offset
        self.closed = False
        self._content = content
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        rest = self._content[self.offset :]
        yield from cut(rest[: self._limit])
        if self._limit is not None:
            raise Unavailable("connection reset by peer")

    def close(self) -> None:
        self.closed = True


class Remote:
    """What `fetch_blob` fetches from; remembers the offsets that were asked for."""

    def __init__(self, content: bytes, *, ranges: bool = True, limit: int | None = None) -> None:
        self.content = content
        self.ranges = ranges
        self.limit = limit
        self.asked: list[int] = []

    def __call__(self, offset: int) -> Stream:
        self.asked.append(offset)
        return Stream(self.content, offset if self.ranges else 0, self.limit)


def cut(content: bytes, size: int = 200_000) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@pytest.fixture
def lease(engine: Engine) -> Iterator[Lease]:
    with hold(engine.metadata, engine.content, "test") as held:
        yield held


def rows(engine: Engine) -> dict[Digest, int]:
    with engine.metadata.read() as tx:
        return tx.graph.all_blobs()


def facts(engine: Engine, digest: Digest) -> LayerFacts | None:
    with engine.metadata.read() as tx:
        return tx.graph.layers([digest]).get(digest)


def assert_holds(engine: Engine, *contents: bytes) -> None:
    """Rows and files agree on these blobs, and no partial is left."""
    expected = {Digest.of(content): len(content) for content in contents}
    assert rows(engine) == dict(engine.content.blobs()) == expected
    assert list(engine.content.partials()) == []


def leave_partial(engine: Engine, content: bytes) -> None:
    with engine.content.ingest(str(DIGEST)) as ingest:
        ingest.write(content)
        ingest.keep()


def test_a_layer_is_stored_with_its_facts(engine: Engine, lease: Lease) -> None:
    stored = store_blob(engine, lease, cut(STORED), digest=DIGEST, size=len(STORED))
    assert (stored.digest, stored.size, stored.layer) == (DIGEST, len(STORED), FACTS)
    assert facts(engine, DIGEST) == FACTS
    assert engine.content.read(DIGEST) == STORED
    assert_holds(engine, STORED)


@pytest.mark.parametrize(
    ("blob", "layer"),
    [
        pytest.param(PLAIN, LayerFacts(Digest.of(PLAIN), len(PLAIN)), id="tar"),
        pytest.param(gzip.compress(b"chart"), LayerFacts(Digest.of(b"chart"), 5), id="gzip that is no tar"),
        pytest.param(b'{"architecture":"amd64"}', None, id="config"),
        pytest.param(STORED[:-1], None, id="truncated gzip"),
    ],
)
def test_facts_follow_from_the_bytes_alone(engine: Engine, lease: Lease, blob: bytes, layer: LayerFacts | None) -> None:
    stored = store_blob(engine, lease, cut(blob))
    assert stored.layer == facts(engine, stored.digest) == layer
    assert_holds(engine, blob)


def test_a_small_document_is_stored(engine: Engine, lease: Lease) -> None:
    assert store_bytes(engine, lease, b"{}") == Digest.of(b"{}")
    assert store_bytes(engine, lease, b"{}") == Digest.of(b"{}")
    assert_holds(engine, b"{}")


def test_another_algorithm_keeps_its_digest_and_a_sha256_diff_id(engine: Engine, lease: Lease) -> None:
    digest = Digest("sha512", hashlib.sha512(PLAIN).hexdigest())
    stored = store_blob(engine, lease, cut(PLAIN), digest=digest, size=len(PLAIN))
    assert (stored.digest, stored.layer) == (digest, FACTS)
    assert engine.content.read(digest) == PLAIN


def test_a_present_blob_is_not_fetched(engine: Engine, lease: Lease) -> None:
    first = store_blob(engine, lease, cut(STORED), digest=DIGEST, size=len(STORED))
    remote = Remote(STORED)
    assert fetch_blob(engine, lease, remote, digest=DIGEST, size=len(STORED)) == first
    assert remote.asked == []


def test_what_comes_for_a_present_blob_is_hashed_and_not_written(engine: Engine, lease: Lease) -> None:
    first = store_blob(engine, lease, cut(STORED), digest=DIGEST, size=len(STORED))
    with engine.content.open(DIGEST) as before:
        assert store_blob(engine, lease, cut(STORED), digest=DIGEST, size=len(STORED)) == first
        assert store_blob(engine, lease, cut(STORED), digest=DIGEST) == first
        assert os.path.samestat(os.fstat(before.fileno()), os.stat(before.name))
    assert_holds(engine, STORED)


@pytest.mark.parametrize(
    ("chunks", "size", "words"),
    [
        pytest.param([bytes(len(STORED))], len(STORED), "unexpected commit digest", id="zeros"),
        pytest.param([STORED, b"more"], len(STORED), "unexpected commit size", id="too long"),
        pytest.param([STORED[:-1]], len(STORED), "unexpected commit size", id="too short"),
        pytest.param([STORED, b"more"], None, "unexpected commit digest", id="too long for no size"),
    ],
)
def test_a_lie_about_a_present_blob_is_refused(engine: Engine, lease: Lease, chunks: list[bytes], size: int | None, words: str) -> None:
    store_blob(engine, lease, cut(STORED), digest=DIGEST)
    with pytest.raises(InvalidContent, match=words):
        store_blob(engine, lease, chunks, digest=DIGEST, size=size)
    assert_holds(engine, STORED)


def test_no_more_is_read_of_a_present_blob_than_the_size_allows(engine: Engine, lease: Lease) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(1_000_000)
        pytest.fail("went on reading")

    store_blob(engine, lease, cut(STORED), digest=DIGEST)
    with pytest.raises(InvalidContent, match="unexpected commit size"):
        store_blob(engine, lease, endless(), digest=DIGEST, size=len(STORED))


def test_a_present_blob_of_another_size_is_refused(engine: Engine, lease: Lease) -> None:
    store_blob(engine, lease, cut(STORED), digest=DIGEST)
    with pytest.raises(InvalidContent, match="size"):
        store_blob(engine, lease, cut(STORED), digest=DIGEST, size=7)


def test_a_digest_found_only_at_the_end_is_stored_once(engine: Engine, lease: Lease) -> None:
    first = store_blob(engine, lease, cut(STORED))
    assert store_blob(engine, lease, cut(STORED)) == first
    assert_holds(engine, STORED)


@pytest.mark.parametrize(
    ("digest", "size"),
    [
        pytest.param(Digest.of(b"other"), None, id="digest"),
        pytest.param(DIGEST, len(STORED) + 1, id="too short"),
        pytest.param(DIGEST, len(STORED) - 1, id="too long"),
        pytest.param(None, len(STORED) - 1, id="size alone"),
    ],
)
def test_a_lie_leaves_nothing(engine: Engine, lease: Lease, digest: Digest | None, size: int | None) -> None:
    with pytest.raises(InvalidContent, match="unexpected commit"):
        store_blob(engine, lease, cut(STORED), digest=digest, size=size)
    assert_holds(engine)


def test_no_more_is_read_than_the_size_allows(engine: Engine, lease: Lease) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(10):
            yield bytes(1000)
        pytest.fail("went on reading")

    with pytest.raises(InvalidContent, match="unexpected commit size"):
        store_blob(engine, lease, endless(), digest=DIGEST, size=5000)
    assert_holds(engine)


def test_chunks_that_fail_leave_nothing(engine: Engine, lease: Lease) -> None:
    def broken() -> Iterator[bytes]:
        yield from cut(STORED[:2_000_000])
        raise Unavailable("connection reset by peer")

    for digest in (DIGEST, None):
        with pytest.raises(Unavailable):
            store_blob(engine, lease, broken(), digest=digest)
    assert_holds(engine)


def test_a_bomb_leaves_nothing(engine: Engine, lease: Lease) -> None:
    careful = dataclasses.replace(engine, limits=dataclasses.replace(LIMITS, decompression_ratio=10, decompression_bytes=1_000_000))
    bomb = gzip.compress(bytes(5_000_000))
    for digest in (Digest.of(bomb), None):
        with pytest.raises(InvalidContent, match="bomb"):
            store_blob(careful, lease, cut(bomb), digest=digest)
    assert_holds(engine)


def test_a_full_disk_stops_reading_and_leaves_nothing(engine: Engine, lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.content.ingests.open_partial", lambda _: os.open("/dev/full", os.O_RDWR | os.O_CLOEXEC))

    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield bytes(1000)
        pytest.fail("went on reading")

    with pytest.raises(OutOfSpace):
        store_blob(engine, lease, endless(), digest=DIGEST)
    assert_holds(engine)


def test_a_file_without_a_row_is_replaced(engine: Engine, lease: Lease) -> None:
    with engine.content.ingest(str(DIGEST)) as ingest:
        ingest.write(STORED)
        ingest.commit()
    assert store_blob(engine, lease, cut(STORED), digest=DIGEST).layer == FACTS
    assert_holds(engine, STORED)


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_two_fetches_of_one_blob_ask_for_it_once(engine: Engine) -> None:
    one_waits = threading.Event()
    done = threading.Barrier(2)
    remote = Remote(STORED)

    def slow(offset: int) -> Stream:
        assert one_waits.wait(10)
        return remote(offset)

    def fetch(number: int) -> None:
        with hold(engine.metadata, engine.content, f"writer {number}") as lease:
            fetch_blob(engine, lease, slow, digest=DIGEST, size=len(STORED), waiting=one_waits.set)
            done.wait(10)

    first, second = (in_thread(partial(fetch, number)) for number in (1, 2))
    first.join(10)
    second.join(10)
    assert remote.asked == [0]


def test_a_lie_is_refused_also_where_another_writer_brings_the_blob_meanwhile(engine: Engine, lease: Lease) -> None:
    begun, liar_waits = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        begun.set()
        assert liar_waits.wait(10)
        yield from cut(STORED)

    def lie(own: Lease) -> None:
        with pytest.raises(InvalidContent, match="unexpected commit digest"):
            store_blob(engine, own, [bytes(len(STORED))], digest=DIGEST, size=len(STORED))
        refused.set()

    refused = threading.Event()
    honest = in_thread(lambda: store_blob(engine, lease, slow(), digest=DIGEST, size=len(STORED)))
    assert begun.wait(10)
    with hold(engine.metadata, engine.content, "liar") as own:
        liar = in_thread(lambda: lie(own))
        poll(lambda: own.digests() == {DIGEST})  # it has asked whether the blob is here
        liar_waits.set()
        honest.join(10)
        liar.join(10)
    assert refused.is_set()
    assert_holds(engine, STORED)


def test_a_fetch_takes_up_what_is_there(engine: Engine, lease: Lease) -> None:
    leave_partial(engine, STORED[:1_500_000])
    remote = Remote(STORED)
    assert fetch_blob(engine, lease, remote, digest=DIGEST, size=len(STORED)).layer == FACTS
    assert remote.asked == [1_500_000]
    assert_holds(engine, STORED)


def test_a_registry_without_ranges_begins_again(engine: Engine, lease: Lease) -> None:
    leave_partial(engine, STORED[:1_500_000])
    remote = Remote(STORED, ranges=False)
    assert fetch_blob(engine, lease, remote, digest=DIGEST, size=len(STORED)).layer == FACTS
    assert_holds(engine, STORED)


@pytest.mark.parametrize("adopted", [pytest.param(False, id="partial"), pytest.param(True, id="file without a row")])
def test_a_fetch_of_what_is_whole_asks_for_nothing(engine: Engine, lease: Lease, adopted: bool) -> None:
    with engine.content.ingest(str(DIGEST)) as ingest:
        ingest.write(STORED)
        if adopted:
            ingest.commit()
        else:
            ingest.keep()
    remote = Remote(STORED)
    assert fetch_blob(engine, lease, remote, digest=DIGEST, size=len(STORED)).layer == FACTS
    assert remote.asked == []
    assert_holds(engine, STORED)


def test_a_partial_larger_than_the_blob_is_fetched_anew(engine: Engine, lease: Lease) -> None:
    leave_partial(engine, STORED + b"more")
    remote = Remote(STORED)
    fetch_blob(engine, lease, remote, digest=DIGEST, size=len(STORED))
    assert remote.asked == [0]
    assert_holds(engine, STORED)


def test_a_broken_fetch_leaves_its_bytes_for_the_next(engine: Engine, lease: Lease) -> None:
    remote = Remote(STORED, limit=1_000_000)
    for _ in range(2):
        with pytest.raises(Unavailable):
            fetch_blob(engine, lease, remote, digest=DIGEST, size=len(STORED))
    remote.limit = None
    assert fetch_blob(engine, lease, remote, digest=DIGEST, size=len(STORED)).layer == FACTS
    assert remote.asked[0] == 0
    assert 0 < remote.asked[1] < remote.asked[2] <= 2_000_000
    assert_holds(engine, STORED)


def test_a_fetch_of_wrong_bytes_leaves_nothing(engine: Engine, lease: Lease) -> None:
    leave_partial(engine, b"wrong" * 100)
    with pytest.raises(InvalidContent, match="unexpected commit digest"):
        fetch_blob(engine, lease, Remote(STORED), digest=DIGEST, size=len(STORED))
    assert_holds(engine)


def test_a_fetch_that_waits_for_another_may_give_up(engine: Engine, lease: Lease) -> None:
    def give_up() -> None:
        raise InterruptedError

    remote = Remote(STORED)
    with engine.content.ingest(str(DIGEST)), pytest.raises(InterruptedError):
        fetch_blob(engine, lease, remote, digest=DIGEST, size=len(STORED), waiting=give_up)
    assert remote.asked == []


@ON_EVERY_DATABASE
def test_a_writer_that_finds_a_file_waits_for_those_that_may_record_it(engine: Engine) -> None:
    with engine.content.publish({Digest.of(b"blob"): b"blob"}):
        pass
    with ThreadPoolExecutor() as pool:
        with engine.metadata.write() as tx:
            tx.graph.add_blob(Digest.of(b"blob"), 4, 1)
            waiting = pool.submit(_has_row, engine, Digest.of(b"blob"))
            with suppress(TimeoutError):
                waiting.result(timeout=0.5)  # who only reads has an answer now
        assert waiting.result()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        pytest.param(10_000 * PART_BYTES + 1, "in a bucket it may have at most 83886080000", id="more parts than an object has"),
        pytest.param(PART_BYTES, "too large for the 1000000 bytes that STOWAGE_SPOOL_BYTES allows", id="more than the spool"),
    ],
)
@pytest.mark.parametrize("is_named", [True, False], ids=["named", "unnamed"])
def test_a_blob_that_can_never_be_stored_is_refused_before_anything_of_it_is_read(
    tmp_path: Path, bucket_url: str, metadata: MetadataStore, size: int, message: str, *, is_named: bool
) -> None:
    spool_bytes = 1 << 40 if size > 10_000 * PART_BYTES else 1_000_000
    engine = real_engine(metadata, open_bucket(tmp_path / "root", bucket_url, metadata, spool_bytes=spool_bytes), tmp_path / "transfers")
    chunks = iter([b"never read"])
    with pytest.raises(OutOfSpace, match=message), hold(metadata, engine.content, "test") as lease:
        store_blob(engine, lease, chunks, digest=Digest.of(b"large") if is_named else None, size=size)
    assert list(chunks) == [b"never read"]
    engine.content.require_room(1_000_000)
