"""SQLite: writers take turns, and whether anything was committed is noticed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from stowage.services.errors import Unavailable
from stowage.services.metadata.store import MetadataStore
from tests.engines import metadata_store
from tests.rows import add_blobs, digest

PROJECT = Path(__file__).parents[3]
BUSY = """
import sys, time
from tests.engines import metadata_store

store = metadata_store(sys.argv[1])
while True:
    with store.write() as tx:
        tx.leases.end(tx.leases.create("busy", alive=1, expires=1))
        time.sleep(0.02)
        print(flush=True)
"""


@contextmanager
def busy_process(url: str) -> Iterator[list[None]]:
    """Another process that writes all the time; yields one item for each of its transactions."""
    done: list[None] = []
    with subprocess.Popen([sys.executable, "-c", BUSY, url], cwd=PROJECT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        reading = threading.Thread(target=lambda: done.extend(None for _ in process.stdout or ()))
        reading.start()
        yield done
        process.kill()
        reading.join()


def test_a_writer_waits_for_few_transactions_of_a_process_that_has_many(database_url: str, metadata: MetadataStore) -> None:
    waited = []
    with busy_process(database_url) as done:
        for _ in range(20):
            before = len(done)
            with metadata.write():
                waited.append(len(done) - before)
    assert max(waited) <= 4


def test_a_writer_waits_for_few_transactions_of_a_thread_that_has_many(metadata: MetadataStore) -> None:
    done = 0
    over = threading.Event()

    def write() -> None:
        nonlocal done
        while not over.is_set():
            with metadata.write():
                over.wait(0.02)
                done += 1

    busy = threading.Thread(target=write)
    busy.start()
    waited = []
    for _ in range(20):
        before = done
        with metadata.write():
            waited.append(done - before)
    over.set()
    busy.join()
    assert max(waited) <= 4


def test_a_writer_that_waits_too_long_gives_up_and_leaves_its_turn_to_others(database_url: str, metadata: MetadataStore) -> None:
    impatient = metadata_store(database_url, timeout=0)
    with metadata.write() as tx:
        add_blobs(tx, ["a"])
        for _ in range(2):
            with pytest.raises(Unavailable, match="the database is busy"), impatient.write():
                pass
    with impatient.write() as tx:
        assert tx.graph.present([digest("a")]) == {digest("a")}
    impatient.close()


def test_who_may_only_read_the_folder_of_the_database_keeps_no_writer_waiting(database_url: str) -> None:
    folder = Path(database_url.removeprefix("sqlite:///")).parent
    writer = metadata_store(database_url, timeout=0)
    reader = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(reader, fcntl.LOCK_EX)
        with writer.write() as tx:
            add_blobs(tx, ["a"])
    finally:
        os.close(reader)
        writer.close()
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()} == {0o600}


_OTHER_PROCESS = """
import os, signal, sys
from tests.engines import metadata_store
from tests.rows import add_blobs

with metadata_store(sys.argv[1]).write() as tx:
    add_blobs(tx, [sys.argv[2]])
    if sys.argv[3] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


def change(store: MetadataStore, blob: str = "a") -> None:
    with store.write() as tx:
        add_blobs(tx, [blob])


def change_and_die(url: str, blob: str, *, when: str) -> None:
    """Change the database in another process, which is killed before or after the commit and closes nothing."""
    ended = subprocess.run([sys.executable, "-c", _OTHER_PROCESS, url, blob, when], cwd=PROJECT, check=False)
    assert ended.returncode == -signal.SIGKILL


def test_reading_leaves_the_version_as_it_is(metadata: MetadataStore) -> None:
    change(metadata)
    version = metadata.version()
    with metadata.read() as tx:
        tx.images.count()
    metadata.counts()
    assert metadata.version() is version is not None


def test_a_change_that_is_rolled_back_leaves_the_version_as_it_is(metadata: MetadataStore) -> None:
    version = metadata.version()
    with suppress(InterruptedError), metadata.write() as tx:
        add_blobs(tx, ["a"])
        raise InterruptedError
    assert metadata.version() is version


def test_every_commit_of_this_process_changes_the_version(metadata: MetadataStore) -> None:
    versions = [metadata.version()]
    for blob in "abc":
        change(metadata, blob)
        versions.append(metadata.version())
    assert len(set(versions)) == 4


def test_the_version_changes_with_the_commit_and_not_before(metadata: MetadataStore) -> None:
    version = metadata.version()
    with metadata.write() as tx:
        add_blobs(tx, ["a"])
        assert metadata.version() is version
    assert metadata.version() is not version


@pytest.mark.parametrize("when", ["after", "before"])
def test_a_process_that_is_killed_changes_the_version_if_it_has_committed(metadata: MetadataStore, database_url: str, when: str) -> None:
    change(metadata)
    version = metadata.version()
    change_and_die(database_url, "b", when=when)
    assert (metadata.version() is not version) is (when == "after")
    change_and_die(database_url, "c", when="after")
    assert metadata.version() is not version


def test_a_commit_after_the_log_was_started_over_changes_the_version(metadata: MetadataStore, database_url: str) -> None:
    """A checkpoint lets the next writer begin the log again, so the log may have as many frames as before."""
    change(metadata)
    for blob in "bcd":
        version = metadata.version()
        with metadata._engine().connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        change_and_die(database_url, blob, when="after")
        assert metadata.version() is not version


def test_another_connection_never_has_the_version_of_the_last_one(metadata: MetadataStore) -> None:
    """Both count from the same number."""
    version = metadata.version()
    metadata.close()
    change(metadata)
    assert metadata.version() is not version


def test_a_store_that_was_closed_has_no_connection(metadata: MetadataStore, database_url: str) -> None:
    """The last connection that is closed removes the log."""
    change(metadata)
    metadata.version()
    log = Path(database_url.removeprefix("sqlite:///") + "-wal")
    assert log.exists()
    metadata.close()
    assert not log.exists()


def in_child(act: Callable[[], bool]) -> bool:
    """What this returns in a fork of this process."""
    pid = os.fork()
    if pid == 0:
        done = False
        with suppress(BaseException):
            done = act()
        os._exit(0 if done else 1)
    return os.waitpid(pid, 0)[1] == 0


def test_a_child_has_a_connection_of_its_own(metadata: MetadataStore, database_url: str) -> None:
    change(metadata)
    version = metadata.version()

    def see_change() -> bool:
        first = metadata.version()
        change(metadata, "b")
        second = metadata.version()
        return len({version, first, second}) == 3 and metadata.version() is second

    assert in_child(see_change)
    assert metadata.version() is not version


def test_what_cannot_be_found_out_counts_as_a_change(tmp_path: Path) -> None:
    """The query that follows says what fails."""
    store = metadata_store(f"sqlite:///{tmp_path}/missing/stowage.db")
    assert store.version() is not store.version()
