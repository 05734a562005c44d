"""Leases: what is held stays, what only the lease held goes."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from queue import Queue

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.errors import Internal, OutOfSpace
from stowage.services.gc import leases
from stowage.services.gc.collector import collect_garbage
from stowage.services.gc.leases import Lease, hold
from stowage.services.intake.ingest import store_bytes
from stowage.services.metadata.database import open_engine, transaction
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.store.publish import assign_name
from tests.builders import put_image, simple_layout
from tests.engines import ON_EVERY_DATABASE

pytestmark = ON_EVERY_DATABASE

BLOB = b"some blob"


def is_there(engine: Engine, digest: Digest) -> bool:
    with engine.metadata.read() as tx:
        row = bool(tx.graph.present([digest]))
    assert row == (engine.content.size(digest) is not None)
    return row


def test_what_nothing_else_keeps_goes_with_the_lease(engine: Engine) -> None:
    with hold(engine.metadata, engine.content, "test") as lease:
        digest = store_bytes(engine, lease, BLOB)
        collect_garbage(engine.metadata, engine.content)
        assert is_there(engine, digest)
    assert not is_there(engine, digest)


def test_a_lease_holds_its_first_digests_from_the_start(engine: Engine) -> None:
    absent = Digest.of(b"absent")
    with hold(engine.metadata, engine.content, "first") as lease:
        digest = store_bytes(engine, lease, BLOB)
        second = Lease(engine.metadata, engine.content, "second", {digest, absent})
    assert second.sound() == {digest}
    assert second.digests() == {digest, absent}
    assert is_there(engine, digest)


def test_what_an_image_keeps_stays(engine: Engine) -> None:
    layout = simple_layout()
    put_image(engine, layout=layout)
    for text in layout.blobs:
        assert is_there(engine, Digest.parse(text))


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_a_failure_leaves_nothing(engine: Engine, failure: type[BaseException]) -> None:
    with suppress(failure), hold(engine.metadata, engine.content, "test") as lease:
        digest = store_bytes(engine, lease, BLOB)
        raise failure
    assert not is_there(engine, digest)


def test_a_failure_is_passed_on(engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="broken"), hold(engine.metadata, engine.content, "test"):
        raise RuntimeError("broken")


def test_a_kept_failure_leaves_its_blobs_until_a_prune(engine: Engine) -> None:
    with suppress(RuntimeError), hold(engine.metadata, engine.content, "test", keep_on_failure=True) as lease:
        digest = store_bytes(engine, lease, BLOB)
        raise RuntimeError
    assert is_there(engine, digest)
    with hold(engine.metadata, engine.content, "next try") as lease:
        assert lease.add([digest]) == {digest}
    assert is_there(engine, digest)
    assert collect_garbage(engine.metadata, engine.content).blobs == {digest: len(BLOB)}
    assert not is_there(engine, digest)


def test_a_lease_ends_with_its_last_transaction_and_what_it_alone_held_goes_afterwards(engine: Engine) -> None:
    target = put_image(engine, layout=simple_layout())
    with hold(engine.metadata, engine.content, "test") as lease:
        digest = store_bytes(engine, lease, BLOB)
        lease.add([target])
        with lease.ending() as tx:
            assert tx.leases.held([target, digest]) == {target, digest}
        with engine.metadata.read() as tx:
            assert tx.leases.held([target, digest]) == set()
        assert is_there(engine, digest)
    assert (is_there(engine, digest), is_there(engine, target)) == (False, True)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_last_transaction_that_fails_is_a_failure_like_any_other(engine: Engine, keeps: bool) -> None:
    with suppress(RuntimeError), hold(engine.metadata, engine.content, "test", keep_on_failure=keeps) as lease:
        digest = store_bytes(engine, lease, BLOB)
        with lease.ending():
            raise RuntimeError
    assert is_there(engine, digest) == keeps
    with engine.metadata.read() as tx:
        assert bool(tx.leases.held([digest])) == keeps


def test_a_failure_after_the_end_of_the_lease_keeps_nothing(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with suppress(RuntimeError), hold(engine.metadata, engine.content, "test", keep_on_failure=True) as lease:
        digest = store_bytes(engine, lease, BLOB)
        with lease.ending():
            pass
        lease.renew()  # as its thread may still do
        raise RuntimeError
    assert not is_there(engine, digest)
    assert caplog.records == []


def break_off(engine: Engine, whole: bytes, partial: bytes) -> tuple[Digest, Digest]:
    """A pull that was cancelled a day ago, with one blob and the first byte of another; returns their digests."""
    digest, unfinished = Digest.of(whole), Digest.of(partial)
    with (
        suppress(RuntimeError),
        hold(engine.metadata, engine.content, "pull", keep_on_failure=True) as lease,
        engine.content.ingest(str(unfinished)) as ingest,
    ):
        store_bytes(engine, lease, whole)
        lease.add([unfinished])
        ingest.write(partial[:1])
        ingest.keep()
        raise RuntimeError
    with engine.metadata.write() as tx:
        tx.leases.renew(lease._id, alive=0, expires=0)
    return digest, unfinished


def test_what_an_expired_lease_left_goes_at_the_end_of_the_next_hold(engine: Engine) -> None:
    digest, _ = break_off(engine, BLOB, b"partial")
    with hold(engine.metadata, engine.content, "another"):
        assert is_there(engine, digest)
    assert not is_there(engine, digest)
    assert list(engine.content.partials()) == []
    with engine.metadata.read() as tx:
        assert tx.graph.unrooted() == set()


def test_what_others_hold_of_an_expired_lease_stays(engine: Engine) -> None:
    digest, unfinished = break_off(engine, BLOB, b"partial")
    with hold(engine.metadata, engine.content, "the same again") as lease:
        lease.add([digest, unfinished])
        with hold(engine.metadata, engine.content, "another"):
            pass
        assert is_there(engine, digest)
        assert engine.content.partial_size(str(unfinished)) == 1


def test_what_an_expired_lease_left_and_cannot_be_removed_fails_nobody(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_store: FilesystemStore, _digest: Digest) -> None:
        raise Internal("the content store failed")

    break_off(engine, BLOB, b"partial")
    monkeypatch.setattr(FilesystemStore, "delete", refuse)
    with hold(engine.metadata, engine.content, "another"):
        pass
    assert [record.message for record in caplog.records] == ["could not remove what expired leases held; a prune will remove it"]


def test_a_reader_keeps_everything_below_its_target(engine: Engine) -> None:
    layout = simple_layout()
    target = put_image(engine, "simple", layout)
    with hold(engine.metadata, engine.content, "save") as lease:
        assert lease.add([target]) == {target}
        with engine.metadata.write() as tx:
            tx.images.delete(["docker.io/library/simple:latest"])
        assert collect_garbage(engine.metadata, engine.content).bytes == 0
        assert all(is_there(engine, Digest.parse(text)) for text in layout.blobs)
    assert not any(is_there(engine, Digest.parse(text)) for text in layout.blobs)


def test_adding_says_what_is_present(engine: Engine) -> None:
    with hold(engine.metadata, engine.content, "test") as lease:
        digest = store_bytes(engine, lease, BLOB)
        assert lease.add([digest, Digest.of(b"absent")]) == {digest}


def test_a_holder_that_waits_long_for_bytes_is_not_abandoned(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing calls the lease while a client stalls; a prune that comes then must leave what it holds."""
    renewed = threading.Event()
    renew = Lease.renew

    def renew_and_tell(lease: Lease) -> None:
        renew(lease)
        renewed.set()

    monkeypatch.setattr(Lease, "renew", renew_and_tell)
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.01)
    with hold(engine.metadata, engine.content, "test") as lease:
        digest = store_bytes(engine, lease, BLOB)
        lease.abandon()
        for _ in range(2):  # the first may have begun before
            renewed.clear()
            assert renewed.wait(10)
        collect_garbage(engine.metadata, engine.content)
        assert is_there(engine, digest)


def test_a_lease_that_was_ended_cannot_be_renewed(engine: Engine) -> None:
    with hold(engine.metadata, engine.content, "test") as lease:
        with engine.metadata.write() as tx:
            tx.leases.end(lease._id)
        with pytest.raises(Internal, match="was not renewed in time"):
            lease.renew()


def test_a_renewal_that_fails_is_tried_again(engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    tried: Queue[None] = Queue()

    def fail(_lease: Lease) -> None:
        tried.put(None)
        raise OutOfSpace("no space left on device")

    monkeypatch.setattr(Lease, "renew", fail)
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.01)
    with hold(engine.metadata, engine.content, "test"):
        for _ in range(2):
            tried.get(timeout=10)
    assert {record.message for record in caplog.records} == {"could not renew a lease; its holder will notice when it next writes"}


def test_an_image_cannot_be_made_of_what_an_ended_lease_lost(engine: Engine) -> None:
    """A writer that was stopped for so long that a prune took its blobs must fail, not publish half an image."""
    with hold(engine.metadata, engine.content, "test") as lease:
        digest = store_bytes(engine, lease, BLOB)
        with engine.metadata.write() as tx:
            tx.leases.end(lease._id)
        collect_garbage(engine.metadata, engine.content)
        with pytest.raises(Internal), engine.metadata.write() as tx:
            assign_name(tx, "docker.io/library/a:1", Descriptor(mediatypes.OCI_MANIFEST, digest, len(BLOB)), 1)


def test_a_lease_that_cannot_be_ended_does_not_fail_the_operation(
    engine: Engine, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with hold(engine.metadata, engine.content, "test"):
        rename(database_url, "lease_blob", "away")
    rename(database_url, "away", "lease_blob")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def rename(url: str, table: str, name: str) -> None:
    database = open_engine(url)
    with transaction(database, writes=True) as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")
    database.dispose()
