"""What every content store promises: the life of a blob, between threads and between processes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stowage.services.content.protocol import ContentStore
from stowage.services.errors import BlobNotFound, InvalidContent
from stowage.services.oci.digest import Digest
from tests.contracts.stores import (
    CONTENT,
    DIGEST,
    KEY,
    OPENER,
    PROJECT,
    Backend,
    assert_holds,
    leave_partial,
    put,
    write_and_commit,
)


def test_the_first_id_that_is_claimed_stays(backend: Backend) -> None:
    assert backend.store.store_id() is None
    assert backend.store.claim("first") == "first"
    assert backend.store.claim("second") == "first"
    script = f"{OPENER}print({backend.opened}.claim('third'), {backend.opened}.store_id())"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert (done.stdout, backend.store.store_id()) == ("first first\n", "first")
    assert_holds(backend.store)


def test_claims_at_once_agree_on_one_id(store: ContentStore) -> None:
    counted: list[str] = []
    threads = [threading.Thread(target=lambda name=name: counted.append(store.claim(name))) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert counted == [store.store_id()] * 8


def test_a_committed_blob_can_be_read(store: ContentStore) -> None:
    with store.ingest(KEY) as ingest:
        ingest.write(CONTENT[:100])
        ingest.write(memoryview(CONTENT)[100:])
        assert (ingest.offset, ingest.digest) == (len(CONTENT), DIGEST)
        assert store.size(DIGEST) is None
        assert ingest.commit(DIGEST, len(CONTENT)) == DIGEST
    with store.open(DIGEST) as blob:
        assert blob.read() == CONTENT
    assert store.size(DIGEST) == len(CONTENT)
    assert_holds(store, CONTENT)


def test_an_empty_blob_is_a_blob(store: ContentStore) -> None:
    with store.ingest("empty") as ingest:
        ingest.commit(size=0)
    assert_holds(store, b"")


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_a_blob_is_kept_under_the_algorithm_of_its_key(store: ContentStore, algorithm: str) -> None:
    digest = Digest(algorithm, hashlib.new(algorithm, CONTENT).hexdigest())
    with store.ingest(str(digest)) as ingest:
        ingest.write(CONTENT)
        assert ingest.commit(digest) == digest
    assert list(store.blobs()) == [(digest, len(CONTENT))]
    assert store.read(digest) == CONTENT


def test_an_absent_blob_is_not_found(store: ContentStore) -> None:
    assert store.size(DIGEST) is None
    with pytest.raises(BlobNotFound, match=str(DIGEST)):
        store.open(DIGEST)
    with pytest.raises(BlobNotFound):
        store.read(DIGEST)


def test_leaving_without_commit_leaves_nothing(store: ContentStore) -> None:
    with store.ingest(KEY) as ingest:
        ingest.write(CONTENT)
    assert_holds(store)


@pytest.mark.parametrize(
    ("digest", "size", "message"),
    [
        pytest.param(Digest.of(b"other"), None, f"unexpected commit digest {DIGEST}, expected {Digest.of(b'other')}", id="digest"),
        pytest.param(DIGEST, 7, f"unexpected commit size {len(CONTENT)}, expected 7", id="size"),
        pytest.param(None, 7, "unexpected commit size", id="size alone"),
    ],
)
def test_a_lying_digest_or_size_leaves_nothing(store: ContentStore, digest: Digest | None, size: int | None, message: str) -> None:
    with pytest.raises(InvalidContent, match=message):
        write_and_commit(store, KEY, digest, size)
    assert_holds(store)


def test_the_places_of_several_blobs_have_their_sizes_and_bytes(store: ContentStore) -> None:
    put(store, CONTENT)
    absent = Digest.of(b"absent")
    places = store.places([DIGEST, absent])
    assert (places[DIGEST].size, places[DIGEST].read()) == (len(CONTENT), CONTENT)
    assert absent not in places
    assert store.places([]) == {}


def test_committing_what_is_there_succeeds_and_readers_go_on(store: ContentStore) -> None:
    put(store, CONTENT)
    with store.open(DIGEST) as blob:
        put(store, CONTENT)
        assert blob.read() == CONTENT
    assert_holds(store, CONTENT)


def test_a_kept_partial_is_resumed(store: ContentStore) -> None:
    leave_partial(store, KEY, CONTENT[:500])
    assert list(store.partials()) == [(KEY, 500, False)]
    with store.ingest(KEY) as ingest:
        assert ingest.offset == 0
        assert b"".join(ingest.resume()) == CONTENT[:500]
        assert ingest.offset == 500
        ingest.write(CONTENT[500:])
        ingest.commit(DIGEST, len(CONTENT))
    assert_holds(store, CONTENT)


def test_a_partial_that_is_not_resumed_is_thrown_away(store: ContentStore) -> None:
    leave_partial(store, KEY, b"x" * 100_000)
    with store.ingest(KEY) as ingest:
        ingest.write(CONTENT)
        ingest.commit(DIGEST, len(CONTENT))
    assert_holds(store, CONTENT)


def test_a_resumed_partial_can_be_restarted(store: ContentStore) -> None:
    leave_partial(store, KEY, b"damage" * 10_000)
    with store.ingest(KEY) as ingest:
        assert b"".join(ingest.resume()) == b"damage" * 10_000
        ingest.restart()
        assert ingest.offset == 0
        ingest.write(CONTENT)
        ingest.commit(DIGEST)
    assert_holds(store, CONTENT)


def test_a_partial_may_be_resumed_in_part(store: ContentStore) -> None:
    content = CONTENT * 100
    leave_partial(store, "part", content)
    with store.ingest("part") as ingest:
        first = next(iter(ingest.resume()))
        assert ingest.offset == len(first) < len(content)
        ingest.write(content[len(first) :])
        ingest.commit(Digest.of(content))
    assert_holds(store, content)


def test_opening_an_ingest_leaves_a_published_blob_alone(store: ContentStore) -> None:
    put(store, CONTENT)
    with store.ingest(KEY):
        pass
    assert_holds(store, CONTENT)


def test_deleting_again_changes_nothing(store: ContentStore) -> None:
    put(store, CONTENT)
    with store.locked(DIGEST):
        assert store.delete([DIGEST]) == {DIGEST: len(CONTENT)}
        assert store.delete([DIGEST]) == {}
    assert store.size(DIGEST) is None
    assert_holds(store)


def test_a_partial_is_discarded_unless_a_writer_holds_it(store: ContentStore) -> None:
    leave_partial(store, KEY, CONTENT)
    with store.ingest(KEY) as ingest:
        assert store.discard_partial(KEY) == 0
        assert b"".join(ingest.resume()) == CONTENT
        ingest.keep()
    assert store.discard_partial(KEY) == len(CONTENT)
    assert store.discard_partial(KEY) == 0
    assert_holds(store)


def test_another_process_has_the_partial_until_it_commits(backend: Backend) -> None:
    waited: list[bool] = []
    with backend.writer(KEY, CONTENT) as process:
        assert process.stdin is not None
        assert list(backend.store.partials()) == [(KEY, len(CONTENT), True)]

        def let_go() -> None:
            if not waited:
                process.communicate(b"!")
            waited.append(True)

        with backend.store.ingest(KEY, waiting=let_go):
            assert backend.store.size(DIGEST) == len(CONTENT)
    assert waited
    assert_holds(backend.store, CONTENT)


def test_the_partial_of_a_killed_process_is_resumed(backend: Backend) -> None:
    with backend.writer(KEY, CONTENT[:7000]) as process:
        process.kill()
        process.wait()
        assert list(backend.store.partials()) == [(KEY, 7000, False)]
        with backend.store.ingest(KEY) as ingest:
            assert b"".join(ingest.resume()) == CONTENT[:7000]
            ingest.write(CONTENT[7000:])
            ingest.commit(DIGEST, len(CONTENT))
    assert_holds(backend.store, CONTENT)


def test_a_waiter_takes_over_when_the_holder_is_killed(backend: Backend) -> None:
    with backend.writer(KEY, CONTENT[:10]) as process, backend.store.ingest(KEY, waiting=process.kill) as ingest:
        assert b"".join(ingest.resume()) == CONTENT[:10]
        ingest.write(CONTENT[10:])
        ingest.commit(DIGEST)
    assert_holds(backend.store, CONTENT)


def test_the_partial_of_a_killed_process_is_discarded(backend: Backend) -> None:
    with backend.writer("unnamed", CONTENT) as process:
        assert backend.store.discard_partial("unnamed") == 0
        process.kill()
        process.wait()
        assert backend.store.discard_partial("unnamed") == len(CONTENT)
    assert_holds(backend.store)


@given(chunks=st.lists(st.binary(max_size=2000), max_size=8), kept=st.integers(0, 8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_chunks_make_one_blob_whatever_their_cuts(store: ContentStore, chunks: list[bytes], kept: int) -> None:
    content = b"".join(chunks)
    with store.ingest("chunks") as ingest:
        for chunk in chunks[:kept]:
            ingest.write(chunk)
        ingest.keep()
    with store.ingest("chunks") as ingest:
        assert b"".join(ingest.resume()) == b"".join(chunks[:kept])
        for chunk in chunks[kept:]:
            ingest.write(chunk)
        digest = ingest.commit(Digest.of(content), len(content))
    assert store.read(digest) == content
