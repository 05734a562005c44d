"""Transactions on PostgreSQL: one writer at a time, nobody held up without bound, and no change lost or made unnoticed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine as Database
from sqlalchemy.exc import DataError

from stowage.services.errors import Internal, Unavailable
from stowage.services.metadata.database import open_engine, transaction
from stowage.services.metadata.reach import UNROOTED
from stowage.services.metadata.store import MetadataStore
from tests.engines import metadata_store
from tests.postgresql import Cluster
from tests.rows import add_blobs, digest
from tests.services.metadata.stores import TIMEOUT, A, B, add, add_in_the_end, backends, blobs, execute, terminate

REPOSITORY = Path(__file__).resolve().parents[3]
CHILD = """
import sys
from sqlalchemy import text
from sqlalchemy.exc import DataError
from tests.engines import metadata_store

with metadata_store(sys.argv[1], timeout=3).write() as tx:
    print("writing", flush=True)
    if statement := sys.stdin.readline().strip():
        tx.graph._connection.execute(text(statement))
"""


@contextmanager
def writing_child(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process inside a write transaction, which runs the statement that it reads."""
    command = [sys.executable, "-c", CHILD, url]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        yield child
        child.kill()


class TestIsolation:
    def test_a_writer_waits_for_another_and_sees_its_rows(self, store: MetadataStore, url: str) -> None:
        """A lock and a read in one statement would see the rows of before the wait."""
        other = metadata_store(url)
        began = threading.Event()

        def write() -> set[object]:
            began.set()
            with other.write() as tx:
                return set(tx.graph.all_blobs())

        with ThreadPoolExecutor() as pool:
            with store.write() as tx:
                future = pool.submit(write)
                began.wait()
                add_blobs(tx, ["a"])
            assert future.result() == {A}
        other.close()

    def test_a_writer_that_waits_too_long_is_told_so(self, url: str) -> None:
        with closing(metadata_store(url)) as patient, closing(metadata_store(url, timeout=1)) as hasty, patient.write():
            with pytest.raises(Unavailable, match="the database is busy: try again"), hasty.write():
                pass
            assert blobs(hasty) == set()

    def test_a_thread_that_waits_too_long_for_the_gate_is_told_so(self, store: MetadataStore) -> None:
        with ThreadPoolExecutor() as pool, store.write() as tx:
            waiting = pool.submit(add, store, "a")
            for _ in range(2):
                execute(tx, f"SELECT pg_sleep({0.7 * TIMEOUT})")
            with pytest.raises(Unavailable, match="the database is busy: try again"):
                waiting.result()

    def test_a_reader_sees_one_state_and_changes_nothing(self, store: MetadataStore) -> None:
        with store.read() as tx:
            assert tx.graph.all_blobs() == {}
            add(store, "a")
            assert tx.graph.all_blobs() == {}
        with pytest.raises(Unavailable, match="the database is read-only"), store.read() as tx:
            add_blobs(tx, ["b"])

    def test_more_readers_than_connections_take_turns(self, store: MetadataStore) -> None:
        add(store, "a")
        with ThreadPoolExecutor(30) as pool:
            assert all(found == {A} for found in pool.map(lambda _: blobs(store), range(300)))

    def test_a_transaction_that_goes_on_after_an_error_is_no_success(self, store: MetadataStore) -> None:
        def write() -> None:
            with store.write() as tx:
                execute(tx, f"INSERT INTO blob (digest, size, created_at) VALUES ('{digest('a')}', 1, 1)")
                with suppress(DataError):
                    execute(tx, "SELECT 1 / 0")

        with pytest.raises(Internal, match="continued after an error"):
            write()
        assert blobs(store) == set()

    def test_leases_are_timed_after_the_wait_for_the_lock(self, store: MetadataStore, cluster: Cluster) -> None:
        with store.write() as tx:
            execute(tx, "SELECT pg_sleep(2)")
            lease = tx.leases.create("a", alive=60, expires=60)
        assert cluster.execute(
            f"SELECT expires_at - 60 - floor(extract(epoch FROM clock_timestamp())) FROM lease WHERE id = '{lease}'", "stowage"
        ) in ([(0,)], [(-1,)])


class TestBounds:
    def test_a_stopped_client_holds_up_others_for_a_third_of_the_timeout(self, store: MetadataStore, url: str) -> None:
        with writing_child(url) as child:
            child.send_signal(signal.SIGSTOP)
            add(store, "a")
        assert blobs(store) == {A}

    @pytest.mark.parametrize("tcp", [pytest.param(True, id="tcp"), pytest.param(False, id="unix")])
    def test_one_that_does_not_read_a_long_answer_is_ended(self, store: MetadataStore, cluster: Cluster, *, tcp: bool) -> None:
        with writing_child(cluster.url("stowage", tcp=tcp)) as child:
            assert child.stdin is not None
            child.stdin.write("SELECT pg_sleep(1), repeat('x', 30000000)\n")
            child.stdin.flush()
            while not cluster.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
                time.sleep(0.05)
            child.send_signal(signal.SIGSTOP)
            add_in_the_end(store, "a", tries=4)
        assert blobs(store) == {A}

    def test_a_stopped_server_process_is_given_up(self, store: MetadataStore, cluster: Cluster) -> None:
        stopped: list[int] = []

        def write() -> None:
            with store.write() as tx:
                add_blobs(tx, ["a"])
                stopped.extend(backends(cluster))
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)
                tx.graph.all_blobs()

        try:
            with pytest.raises(Unavailable, match="did not answer in time"):
                write()
            with pytest.raises(Unavailable, match="the database is busy"):
                add(store, "b")
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        add(store, "b")
        assert blobs(store) == {B}

    def test_a_stopped_server_process_that_holds_up_changes_is_named_and_may_be_killed(
        self, store: MetadataStore, url: str, cluster: Cluster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing else ends it, since it does not even notice that it should end."""
        add(store, "a")
        own = backends(cluster)
        with writing_child(url):
            (pid,) = set(backends(cluster)) - set(own)
            os.kill(pid, signal.SIGSTOP)
            while not caplog.records:
                with pytest.raises(Unavailable, match="the database is busy"):
                    add(store, "b")
            assert blobs(store) == {A}
            assert caplog.records[0].getMessage().startswith(f"server process {pid} of PostgreSQL has held up all changes for too long")
            os.kill(pid, signal.SIGKILL)
            add_in_the_end(store, "b", tries=40)
        assert blobs(store) == {A, B}

    def test_a_statement_that_takes_too_long_is_cancelled(self, store: MetadataStore) -> None:
        with pytest.raises(Unavailable, match="the database is busy"), store.read() as tx:
            execute(tx, f"SELECT pg_sleep({10 * TIMEOUT})")
        add(store, "a")

    def test_a_write_transaction_has_a_deadline_as_a_whole(self, store: MetadataStore) -> None:
        def write() -> None:
            with store.write() as tx:
                for _ in range(10):
                    execute(tx, f"SELECT pg_sleep({0.7 * TIMEOUT})")

        with pytest.raises(Unavailable, match="did not answer in time"):
            write()
        add(store, "a")


class TestLostConnections:
    def test_connections_lost_while_idle_are_not_noticed(self, store: MetadataStore, cluster: Cluster) -> None:
        add(store, "a")
        terminate(cluster)
        assert blobs(store) == {A}
        terminate(cluster)
        add(store, "b")
        assert blobs(store) == {A, B}
        terminate(cluster)
        assert store.locations([A]) == {A: ""}

    def test_a_query_of_a_server_that_has_stopped_is_unavailable(self, store: MetadataStore, cluster: Cluster) -> None:
        add(store, "a")
        cluster.stop()
        try:
            with pytest.raises(Unavailable, match="the database is unreachable"):
                store.locations([A])
        finally:
            cluster.start()
        assert store.locations([A]) == {A: ""}

    def test_a_connection_lost_in_a_transaction_undoes_it(self, store: MetadataStore, cluster: Cluster) -> None:
        def write() -> None:
            with store.write() as tx:
                add_blobs(tx, ["a"])
                terminate(cluster)
                add_blobs(tx, ["b"])

        with pytest.raises(Unavailable, match="the database is unreachable"):
            write()
        assert blobs(store) == set()

    def test_a_server_that_stops_and_starts_again(self, store: MetadataStore, cluster: Cluster) -> None:
        add(store, "a")
        cluster.stop()
        try:
            with pytest.raises(Unavailable, match="the database is unreachable: .*[Cc]onnection refused"):
                blobs(store)
        finally:
            cluster.start()
        assert blobs(store) == {A}


def test_the_mark_of_a_whole_store_is_one_comparison(url: str) -> None:
    """A plan that looks into the list for each blob took longer than any timeout from 100,000 blobs on."""
    engine = open_engine(url)
    with transaction(engine, writes=False) as connection:
        plan = connection.execute(text(f"EXPLAIN {UNROOTED.compile(engine)}")).scalars().all()
    engine.dispose()
    assert not [line for line in plan if "SubPlan" in line]


def test_a_statement_is_the_same_for_any_number_of_values(store: MetadataStore) -> None:
    with store.write() as tx:
        add_blobs(tx, ["a", "b"])
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Database, "before_cursor_execute", note)
    try:
        for labels in (["a"], ["a", "b", "c"], list("abcdefg")):
            with store.read() as tx:
                assert tx.graph.present(map(digest, labels)) == {digest(label) for label in labels if label in "ab"}
    finally:
        event.remove(Database, "before_cursor_execute", note)
    assert len({statement for statement in statements if "FROM blob" in statement}) == 1


def identity(url: str) -> str:
    with closing(metadata_store(url)) as store:
        return store.identity()


def test_each_database_of_a_server_and_each_schema_is_another(cluster: Cluster) -> None:
    first, second = cluster.create_database("first"), cluster.create_database("second")
    cluster.execute("CREATE SCHEMA copy", "first")
    copy = f"{first}{'&' if '?' in first else '?'}options=-csearch_path%3Dcopy"
    found = [identity(url) for url in (first, second, copy)]
    server = found[0].removesuffix(" first")
    assert found == [f"{server} first", f"{server} second", f"{server} first copy"]
