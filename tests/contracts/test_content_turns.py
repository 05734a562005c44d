"""What every content store promises to several writers of one blob, and to the sweep beside them."""

from __future__ import annotations

import threading

import pytest

from stowage.services.content.protocol import ContentStore
from stowage.services.oci.digest import Digest
from tests.contracts.stores import CONTENT, DIGEST, KEY, assert_holds, give_up, leave_partial, put, write_and_commit


def test_a_second_writer_waits_and_finds_the_blob(store: ContentStore) -> None:
    waits = threading.Event()
    found: list[int | None] = []

    def second() -> None:
        with store.ingest(KEY, waiting=waits.set):
            found.append(store.size(DIGEST))

    thread = threading.Thread(target=second)
    with store.ingest(KEY) as ingest:
        ingest.write(CONTENT)
        thread.start()
        assert waits.wait(10)
        assert list(store.partials()) == [(KEY, len(CONTENT), True)]
        ingest.commit()
    thread.join(10)
    assert found == [len(CONTENT)]
    assert_holds(store, CONTENT)


def test_a_waiter_may_give_up(store: ContentStore) -> None:
    with store.ingest(KEY) as ingest:
        with pytest.raises(InterruptedError), store.ingest(KEY, waiting=give_up):
            pass
        ingest.write(CONTENT)
        ingest.commit()
    assert_holds(store, CONTENT)


@pytest.mark.parametrize("key", ["other", f"{KEY}:beside"])
def test_a_commit_under_another_key_does_not_wait_for_a_transfer(store: ContentStore, key: str) -> None:
    with store.ingest(KEY) as slow:
        slow.write(CONTENT[:10])
        write_and_commit(store, key)
        assert store.read(DIGEST) == CONTENT
        slow.write(CONTENT[10:])
        slow.commit(DIGEST)
    assert_holds(store, CONTENT)


@pytest.mark.parametrize("key", [KEY, "other", f"{KEY}:beside"])
def test_a_commit_waits_for_whoever_locks_the_digest(store: ContentStore, key: str) -> None:
    with store.ingest(KEY if key != KEY else "other") as holder, holder.locking() if key != KEY else store.locked(DIGEST):
        with pytest.raises(InterruptedError):
            write_and_commit(store, key)
        assert store.size(DIGEST) is None


@pytest.mark.parametrize("key", [KEY, "other", f"{KEY}:beside"])
def test_a_commit_locks_the_digest_until_its_context_ends(store: ContentStore, key: str) -> None:
    with store.ingest(key) as ingest:
        ingest.write(CONTENT)
        ingest.commit()
        with store.locked(DIGEST) as held:
            assert not held
    with store.locked(DIGEST) as held:
        assert held


def test_nothing_of_a_broken_ingest_beside_another_is_kept(store: ContentStore) -> None:
    with store.ingest(KEY), store.ingest(f"{KEY}:beside") as beside:
        assert list(beside.resume()) == []
        beside.write(CONTENT)
        beside.keep()
    assert_holds(store)


def test_an_ingest_beside_another_leaves_a_file_without_a_row_alone(store: ContentStore) -> None:
    put(store, CONTENT)
    with store.ingest(f"{KEY}:beside") as beside:
        with beside.locking():
            beside.adopt()
        assert store.read(DIGEST) == CONTENT


def test_a_digest_is_locked_while_what_is_there_is_read(store: ContentStore) -> None:
    leave_partial(store, KEY, CONTENT)
    with store.ingest(KEY) as ingest:
        for _ in ingest.resume():
            with store.locked(DIGEST) as held:
                assert not held
        with store.locked(DIGEST) as held:
            assert held


def test_many_writers_of_one_blob_leave_one_blob(store: ContentStore) -> None:
    def write(key: str) -> None:
        with store.ingest(key) as ingest:
            ingest.write(CONTENT)
            ingest.commit(DIGEST)

    threads = [threading.Thread(target=write, args=(key,)) for key in (KEY, KEY, "one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert_holds(store, CONTENT)


def test_the_sweep_is_not_kept_out_by_a_transfer_and_does_not_wait(store: ContentStore) -> None:
    with store.ingest(KEY) as ingest:
        with store.locked(DIGEST) as held:
            assert held
        with ingest.locking():
            with store.locked(DIGEST) as held:
                assert not held
            with store.locked(Digest.of(b"another")) as held:
                assert held
    with store.locked(DIGEST) as held:
        assert held


def test_a_writer_waits_for_the_sweep(store: ContentStore) -> None:
    put(store, CONTENT)
    waits = threading.Event()
    resumed: list[bytes] = []

    def write() -> None:
        with store.ingest(KEY, waiting=waits.set) as ingest:
            with ingest.locking():
                ingest.adopt()
            resumed.append(b"".join(ingest.resume()))
            ingest.restart()
            ingest.write(CONTENT)
            ingest.commit(DIGEST)

    thread = threading.Thread(target=write)
    with store.locked(DIGEST) as held:
        assert held
        thread.start()
        assert waits.wait(10)
        store.delete([DIGEST])
    thread.join(10)
    assert resumed == [b""]
    assert_holds(store, CONTENT)
