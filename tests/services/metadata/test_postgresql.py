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

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError

from stowage.services.errors import EngineError, Internal, Unavailable
from stowage.services.metadata.database import open_engine, transaction
from stowage.services.metadata.reach import UNROOTED
from stowage.services.metadata.store import SqlMetadataStore, SqlTransaction
from tests.engines import metadata_store
from tests.postgresql import Cluster, Database, free_port, running_cluster
from tests.rows import add_blobs, digest
from tests.services.metadata.cutting_proxy import CuttingProxy

REPOSITORY = Path(__file__).resolve().parents[3]
TIMEOUT = 3
A, B = digest("a"), digest("b")
COMMIT = b"COMMIT\0"
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


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server that these tests stop and start, and that also listens on a port."""
    with running_cluster(port=free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def shared(cluster: Cluster) -> Iterator[Database]:
    with closing(Database(cluster.create_database("stowage"))) as database:
        yield database


@pytest.fixture
def url(cluster: Cluster, shared: Database) -> str:
    shared.empty()
    return cluster.url("stowage", tcp=True)


@pytest.fixture
def store(url: str) -> Iterator[SqlMetadataStore]:
    with closing(metadata_store(url, timeout=TIMEOUT)) as opened:
        yield opened


def add(store: SqlMetadataStore, label: str) -> None:
    with store.write() as tx:
        add_blobs(tx, [label])


def add_in_the_end(store: SqlMetadataStore, label: str, *, tries: int) -> None:
    for _ in range(tries):
        with suppress(Unavailable):
            add(store, label)
            return
    pytest.fail("the writer was held up without bound")


def blobs(store: SqlMetadataStore) -> set[object]:
    with store.read() as tx:
        return set(tx.graph.all_blobs())


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


def execute(tx: SqlTransaction, statement: str) -> None:
    tx.graph._connection.execute(text(statement))


def backends(cluster: Cluster) -> list[int]:
    """The server processes of the engine's connections."""
    rows = cluster.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'stowage' AND datname = 'stowage'")
    return [pid for (pid,) in rows]


def terminate(cluster: Cluster) -> None:
    """End the engine's connections, as an administrator may."""
    for pid in backends(cluster):
        cluster.execute(f"SELECT pg_terminate_backend({pid})")


class TestIsolation:
    def test_a_writer_waits_for_another_and_sees_its_rows(self, store: SqlMetadataStore, url: str) -> None:
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

    def test_a_thread_that_waits_too_long_for_the_gate_is_told_so(self, store: SqlMetadataStore) -> None:
        with ThreadPoolExecutor() as pool, store.write() as tx:
            waiting = pool.submit(add, store, "a")
            for _ in range(2):
                execute(tx, f"SELECT pg_sleep({0.7 * TIMEOUT})")
            with pytest.raises(Unavailable, match="the database is busy: try again"):
                waiting.result()

    def test_a_reader_sees_one_state_and_changes_nothing(self, store: SqlMetadataStore) -> None:
        with store.read() as tx:
            assert tx.graph.all_blobs() == {}
            add(store, "a")
            assert tx.graph.all_blobs() == {}
        with pytest.raises(Unavailable, match="the database is read-only"), store.read() as tx:
            add_blobs(tx, ["b"])

    def test_more_readers_than_connections_take_turns(self, store: SqlMetadataStore) -> None:
        add(store, "a")
        with ThreadPoolExecutor(30) as pool:
            assert all(found == {A} for found in pool.map(lambda _: blobs(store), range(300)))

    def test_a_transaction_that_goes_on_after_an_error_is_no_success(self, store: SqlMetadataStore) -> None:
        def write() -> None:
            with store.write() as tx:
                add_blobs(tx, ["a"])
                with suppress(DataError):
                    execute(tx, "SELECT 1 / 0")

        with pytest.raises(Internal, match="continued after an error"):
            write()
        assert blobs(store) == set()

    def test_leases_are_timed_after_the_wait_for_the_lock(self, store: SqlMetadataStore, cluster: Cluster) -> None:
        with store.write() as tx:
            execute(tx, "SELECT pg_sleep(2)")
            lease = tx.leases.create("a", alive=60, expires=60)
        assert cluster.execute(
            f"SELECT expires_at - 60 - floor(extract(epoch FROM clock_timestamp())) FROM lease WHERE id = '{lease}'", "stowage"
        ) in ([(0,)], [(-1,)])


class TestBounds:
    def test_a_stopped_client_holds_up_others_for_a_third_of_the_timeout(self, store: SqlMetadataStore, url: str) -> None:
        with writing_child(url) as child:
            child.send_signal(signal.SIGSTOP)
            add(store, "a")
        assert blobs(store) == {A}

    @pytest.mark.parametrize("tcp", [pytest.param(True, id="tcp"), pytest.param(False, id="unix")])
    def test_one_that_does_not_read_a_long_answer_is_ended(self, store: SqlMetadataStore, cluster: Cluster, *, tcp: bool) -> None:
        with writing_child(cluster.url("stowage", tcp=tcp)) as child:
            assert child.stdin is not None
            child.stdin.write("SELECT pg_sleep(1), repeat('x', 30000000)\n")
            child.stdin.flush()
            while not cluster.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
                time.sleep(0.05)
            child.send_signal(signal.SIGSTOP)
            add_in_the_end(store, "a", tries=4)
        assert blobs(store) == {A}

    def test_a_stopped_server_process_is_given_up(self, store: SqlMetadataStore, cluster: Cluster) -> None:
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

    def test_a_statement_that_takes_too_long_is_cancelled(self, store: SqlMetadataStore) -> None:
        with pytest.raises(Unavailable, match="the database is busy"), store.read() as tx:
            execute(tx, f"SELECT pg_sleep({10 * TIMEOUT})")
        add(store, "a")

    def test_a_write_transaction_has_a_deadline_as_a_whole(self, store: SqlMetadataStore) -> None:
        def write() -> None:
            with store.write() as tx:
                for _ in range(10):
                    execute(tx, f"SELECT pg_sleep({0.7 * TIMEOUT})")

        with pytest.raises(Unavailable, match="did not answer in time"):
            write()
        add(store, "a")


class TestLostConnections:
    def test_connections_lost_while_idle_are_not_noticed(self, store: SqlMetadataStore, cluster: Cluster) -> None:
        add(store, "a")
        terminate(cluster)
        assert blobs(store) == {A}
        terminate(cluster)
        add(store, "b")
        assert blobs(store) == {A, B}

    def test_a_connection_lost_in_a_transaction_undoes_it(self, store: SqlMetadataStore, cluster: Cluster) -> None:
        def write() -> None:
            with store.write() as tx:
                add_blobs(tx, ["a"])
                terminate(cluster)
                add_blobs(tx, ["b"])

        with pytest.raises(Unavailable, match="the database is unreachable"):
            write()
        assert blobs(store) == set()

    def test_a_server_that_stops_and_starts_again(self, store: SqlMetadataStore, cluster: Cluster) -> None:
        add(store, "a")
        cluster.stop()
        try:
            with pytest.raises(Unavailable, match="the database is unreachable: .*[Cc]onnection refused"):
                blobs(store)
        finally:
            cluster.start()
        assert blobs(store) == {A}


class TestLostAnswers:
    """The connection is cut when COMMIT is on its way: before the server has got it, or before the client has got the answer."""

    @pytest.fixture
    def proxy(self, cluster: Cluster) -> Iterator[CuttingProxy]:
        assert cluster.port is not None
        with CuttingProxy(cluster.port) as running:
            yield running

    @pytest.fixture
    def cut_store(self, url: str, proxy: CuttingProxy, cluster: Cluster) -> Iterator[SqlMetadataStore]:
        through = url.replace(str(cluster.port), str(proxy.port)) + "?sslmode=disable&gssencmode=disable"
        with closing(metadata_store(through, timeout=TIMEOUT)) as opened:
            yield opened

    def test_a_change_that_was_made_counts(self, cut_store: SqlMetadataStore, store: SqlMetadataStore, proxy: CuttingProxy) -> None:
        proxy.cut_after = COMMIT
        add(cut_store, "a")
        assert proxy.cuts == 1
        assert blobs(store) == {A}

    def test_a_change_that_was_not_made_is_an_error(
        self, cut_store: SqlMetadataStore, store: SqlMetadataStore, proxy: CuttingProxy
    ) -> None:
        proxy.cut_before = COMMIT
        with pytest.raises(Unavailable, match="lost before the last change was made: try again"):
            add(cut_store, "a")
        assert blobs(store) == set()
        add(cut_store, "a")
        assert blobs(store) == {A}

    def test_an_outcome_that_cannot_be_found_out_is_said_to_be_unknown(
        self, cut_store: SqlMetadataStore, store: SqlMetadataStore, proxy: CuttingProxy
    ) -> None:
        proxy.cut_after, proxy.refuses_after_cut = COMMIT, True
        with pytest.raises(Unavailable, match="whether the last change was made is not known"):
            add(cut_store, "a")
        assert blobs(store) == {A}

    @pytest.fixture
    def _without_standby(self, cluster: Cluster, store: SqlMetadataStore) -> Iterator[None]:
        """Commits wait for a standby that does not exist."""
        _set(cluster, "synchronous_standby_names = 'nobody'")
        yield
        _set(cluster, "synchronous_standby_names = ''")

    @pytest.mark.usefixtures("_without_standby")
    def test_a_commit_that_no_standby_confirms_has_an_unknown_outcome(self, store: SqlMetadataStore) -> None:
        with pytest.raises(Unavailable, match="whether the last change was made is not known"):
            add(store, "a")

    @pytest.mark.usefixtures("_without_standby")
    def test_a_commit_that_was_told_not_to_wait_for_a_standby_is_an_error(self, store: SqlMetadataStore, cluster: Cluster) -> None:
        with ThreadPoolExecutor() as pool:
            writing = pool.submit(add, store, "a")
            while not cluster.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
                time.sleep(0.05)
            with pytest.raises(Unavailable, match="the database may lose the last change: canceling wait for synchronous replication"):
                writing.result()
        assert blobs(store) == {A}

    def test_each_writer_has_one_token(self, store: SqlMetadataStore, url: str, cluster: Cluster) -> None:
        cluster.execute("DELETE FROM last_write", "stowage")
        cluster.execute("INSERT INTO last_write VALUES ('gone', 'token', 1)", "stowage")
        with closing(metadata_store(url)) as other:
            for label in ("a", "b"):
                add(store, label)
                add(other, label)
        assert cluster.execute("SELECT count(*) FROM last_write", "stowage") == [(2,)]

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_processes_have_different_ones(self, store: SqlMetadataStore, cluster: Cluster) -> None:
        """A parent that has closed its store passes the engine on to its children."""
        add(store, "a")
        store.close()
        cluster.execute("DELETE FROM last_write", "stowage")
        for label in ("b", "c"):
            child = os.fork()
            if child == 0:
                add(store, label)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert cluster.execute("SELECT count(*) FROM last_write", "stowage") == [(2,)]


class TestPlaces:
    def test_a_second_place_is_refused_until_the_first_has_gone(self, url: str) -> None:
        first, same, second = (metadata_store(url, timeout=TIMEOUT, place=place) for place in ("here", "here", "there"))
        add(first, "a")
        add(same, "b")
        same.close()
        with pytest.raises(Unavailable, match="another Stowage uses this database"):
            blobs(second)
        first.close()
        assert blobs(second) == {A, B}
        with pytest.raises(Unavailable, match="another Stowage uses this database"):
            blobs(first)
        second.close()

    def test_it_is_held_again_when_the_connection_was_lost(self, url: str, cluster: Cluster) -> None:
        first, second = metadata_store(url, place="here"), metadata_store(url, place="there")
        add(first, "a")
        cluster.stop()
        cluster.start()
        add(first, "b")
        with pytest.raises(Unavailable, match="another Stowage uses this database"):
            blobs(second)
        first.close()

    def test_each_database_of_a_server_is_held_by_itself(self, url: str, cluster: Cluster) -> None:
        cluster.create_database("elsewhere")
        first, second = metadata_store(url, place="here"), metadata_store(cluster.url("elsewhere"), place="there")
        add(first, "a")
        with pytest.raises(Internal, match="does not exist"):
            second.store_id()
        first.close()
        second.close()
        cluster.drop_database("elsewhere")

    def test_places_that_come_at_once_are_not_both_admitted(self, url: str) -> None:
        def come(number: int) -> SqlMetadataStore | None:
            store = metadata_store(url, place=str(number))
            with suppress(EngineError):
                store.store_id()
                return store
            return None

        with ThreadPoolExecutor(8) as pool:
            admitted = [store for store in pool.map(come, range(8)) if store]
        assert len(admitted) == 1
        admitted[0].close()


def test_the_mark_of_a_whole_store_is_one_comparison(url: str) -> None:
    """A plan that looks into the list for each blob took longer than any timeout from 100,000 blobs on."""
    engine = open_engine(url)
    with transaction(engine, writes=False) as connection:
        plan = connection.execute(text(f"EXPLAIN {UNROOTED.compile(engine)}")).scalars().all()
    engine.dispose()
    assert not [line for line in plan if "SubPlan" in line]


def _set(cluster: Cluster, setting: str) -> None:
    cluster.execute(f"ALTER SYSTEM SET {setting}")
    cluster.execute("SELECT pg_reload_conf()")
