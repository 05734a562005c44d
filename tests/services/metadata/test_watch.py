"""Whether anything was committed to a database of SQLite."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from stowage.services.metadata.store import MetadataStore
from tests.engines import metadata_store
from tests.rows import add_blobs

_PROJECT = Path(__file__).parents[3]
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
    ended = subprocess.run([sys.executable, "-c", _OTHER_PROCESS, url, blob, when], cwd=_PROJECT, check=False)
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
