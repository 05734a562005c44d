"""A commit on PostgreSQL whose answer is lost: what was made counts, what was not is an error, and so is what nobody knows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from stowage.services.errors import Unavailable
from stowage.services.metadata.store import MetadataStore
from tests.engines import metadata_store
from tests.postgresql import Cluster
from tests.rows import add_blobs
from tests.services.metadata.cutting_proxy import CuttingProxy
from tests.services.metadata.stores import TIMEOUT, A, add, blobs, execute

COMMIT = b"COMMIT\0"


class TestLostAnswers:
    """The connection is cut when COMMIT is on its way: before the server has got it, or before the client has got the answer."""

    @pytest.fixture
    def proxy(self, cluster: Cluster) -> Iterator[CuttingProxy]:
        assert cluster.port is not None
        with CuttingProxy(cluster.port) as running:
            yield running

    @pytest.fixture
    def cut_store(self, url: str, proxy: CuttingProxy, cluster: Cluster) -> Iterator[MetadataStore]:
        through = url.replace(str(cluster.port), str(proxy.port)) + "?sslmode=disable&gssencmode=disable"
        with closing(metadata_store(through, timeout=TIMEOUT)) as opened:
            yield opened

    def test_a_change_that_was_made_counts(self, cut_store: MetadataStore, store: MetadataStore, proxy: CuttingProxy) -> None:
        proxy.cut_after = COMMIT
        add(cut_store, "a")
        assert proxy.cuts == 1
        assert blobs(store) == {A}

    def test_a_change_that_was_not_made_is_an_error(self, cut_store: MetadataStore, store: MetadataStore, proxy: CuttingProxy) -> None:
        proxy.cut_before = COMMIT
        with pytest.raises(Unavailable, match="lost before the last change was made: try again"):
            add(cut_store, "a")
        assert blobs(store) == set()
        add(cut_store, "a")
        assert blobs(store) == {A}

    def test_an_outcome_that_cannot_be_found_out_is_said_to_be_unknown(
        self, cut_store: MetadataStore, store: MetadataStore, proxy: CuttingProxy
    ) -> None:
        proxy.cut_after, proxy.refuses_after_cut = COMMIT, True
        with pytest.raises(Unavailable, match="whether the last change was made is not known"):
            add(cut_store, "a")
        assert blobs(store) == {A}

    @pytest.fixture
    def _without_standby(self, cluster: Cluster, store: MetadataStore) -> Iterator[None]:
        """Commits wait for a standby that does not exist."""
        _set(cluster, "synchronous_standby_names = 'nobody'")
        yield
        _set(cluster, "synchronous_standby_names = ''")

    @pytest.mark.usefixtures("_without_standby")
    def test_a_commit_that_no_standby_confirms_has_an_unknown_outcome(self, store: MetadataStore) -> None:
        with pytest.raises(Unavailable, match="whether the last change was made is not known"):
            add(store, "a")

    @pytest.mark.usefixtures("_without_standby")
    def test_a_commit_that_was_told_not_to_wait_for_a_standby_is_an_error(self, store: MetadataStore, cluster: Cluster) -> None:
        with ThreadPoolExecutor() as pool:
            writing = pool.submit(add, store, "a")
            while not cluster.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
                time.sleep(0.05)
            with pytest.raises(Unavailable, match="the database may lose the last change: canceling wait for synchronous replication"):
                writing.result()
        assert blobs(store) == {A}

    def test_a_warning_of_another_kind_is_none(self, store: MetadataStore) -> None:
        with store.write() as tx:
            execute(tx, "DO $$ BEGIN RAISE WARNING 'something else'; END $$")
            add_blobs(tx, ["a"])
        assert blobs(store) == {A}

    def test_each_writer_has_one_token(self, store: MetadataStore, url: str, cluster: Cluster) -> None:
        cluster.execute("DELETE FROM last_write", "stowage")
        cluster.execute("INSERT INTO last_write VALUES ('gone', 'token', 1)", "stowage")
        with closing(metadata_store(url)) as other:
            for label in ("a", "b"):
                add(store, label)
                add(other, label)
        assert cluster.execute("SELECT count(*) FROM last_write", "stowage") == [(2,)]

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_processes_have_different_ones(self, store: MetadataStore, cluster: Cluster) -> None:
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


def _set(cluster: Cluster, setting: str) -> None:
    cluster.execute(f"ALTER SYSTEM SET {setting}")
    cluster.execute("SELECT pg_reload_conf()")
