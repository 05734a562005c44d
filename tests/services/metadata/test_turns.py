"""Writers on SQLite take turns: one that has much to do lets another in after each of its transactions."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
