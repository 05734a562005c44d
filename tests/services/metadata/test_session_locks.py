"""Locks between processes on PostgreSQL: they exclude, and they end with their holder, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from stowage.services.errors import Unavailable
from stowage.services.metadata.database import open_locks
from tests.conformance.conftest import REPOSITORY
from tests.postgresql import Cluster
from tests.services.metadata.stores import TIMEOUT

NAME = "sha256:" + "a" * 64
HOLDER = """
import sys
from stowage.services.metadata.database import open_locks
with open_locks(sys.argv[1], timeout=int(sys.argv[2])).held(sys.argv[3]):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""
OTHERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'stowage locks' AND datname = 'stowage'"


class GaveUp(Exception):
    pass


@contextmanager
def holder(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it reads a line."""
    command = [sys.executable, "-c", HOLDER, url, str(TIMEOUT), NAME]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def tries(count: int) -> Callable[[], None]:
    """What gives up after so many calls: about 50 ms pass between two."""
    left = iter(range(count))

    def waiting() -> None:
        if next(left, None) is None:
            raise GaveUp

    return waiting


def get(url: str) -> None:
    """Get the lock, or fail after half a minute or more."""
    with open_locks(url, timeout=TIMEOUT).held(NAME, tries(600)):
        pass


def end_connections(cluster: Cluster) -> None:
    for (pid,) in cluster.execute(OTHERS):
        cluster.execute(f"SELECT pg_terminate_backend({pid})")


def wait_for_none(cluster: Cluster) -> None:
    """Wait until no process has a connection for locks."""
    deadline = time.monotonic() + 30
    while cluster.execute(OTHERS):
        assert time.monotonic() < deadline
        time.sleep(0.05)


class TestTwoProcesses:
    def test_only_one_holds_a_lock(self, url: str) -> None:
        locks = open_locks(url, timeout=TIMEOUT)
        with holder(url) as process:
            with locks.attempt(NAME) as got:
                assert not got
            with locks.attempt("another") as got:
                assert got
            with pytest.raises(GaveUp), locks.held(NAME, tries(20)):
                pytest.fail("both hold it")
            process.communicate("\n")
            with locks.held(NAME, tries(600)):
                pass

    def test_it_can_be_had_at_once_when_it_was_released(self, url: str) -> None:
        locks = open_locks(url, timeout=TIMEOUT)
        for _ in range(3):
            with locks.attempt(NAME) as got:
                assert got
        with holder(url) as process:
            process.communicate("\n")
        with locks.attempt(NAME) as got:
            assert got

    def test_a_child_has_none_of_its_parents_locks(self, url: str) -> None:
        locks = open_locks(url, timeout=TIMEOUT)
        with locks.attempt(NAME) as got:
            assert got
            child = os.fork()
            if not child:
                with locks.attempt(NAME) as again, locks.attempt("another") as other:
                    os._exit(again or not other)
            assert os.waitpid(child, 0)[1] == 0


class TestAHolderThatIsGone:
    def test_it_was_killed(self, url: str) -> None:
        with holder(url) as process:
            process.kill()
            get(url)

    def test_it_has_stopped(self, url: str) -> None:
        with holder(url) as process:
            process.send_signal(signal.SIGSTOP)
            get(url)
            process.send_signal(signal.SIGCONT)
            assert process.communicate("\n")[0] == "released\n"

    def test_its_connection_was_cut(self, url: str, cluster: Cluster) -> None:
        with holder(url) as process:
            end_connections(cluster)
            get(url)
            assert process.communicate("\n")[0] == "released\n"

    def test_the_server_was_started_again(self, url: str, cluster: Cluster) -> None:
        with holder(url) as process:
            cluster.stop()
            cluster.start()
            get(url)
            assert process.communicate("\n")[0] == "released\n"


class TestOneProcess:
    def test_threads_take_turns_and_ask_with_one_connection(self, url: str, cluster: Cluster) -> None:
        wait_for_none(cluster)
        locks, inside, most = open_locks(url, timeout=TIMEOUT), 0, 0
        guard = threading.Lock()

        def work(_: int) -> int:
            nonlocal inside, most
            with locks.held(NAME, tries(600)):
                with guard:
                    inside += 1
                    most = max(most, inside)
                connections = len(cluster.execute(OTHERS))
                with guard:
                    inside -= 1
            return connections

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(work, range(16))) == {1}
        assert most == 1

    def test_it_is_held_for_as_long_as_its_holder_works(self, url: str) -> None:
        locks = open_locks(url, timeout=TIMEOUT)
        others = open_locks(url, timeout=TIMEOUT)
        with locks.held(NAME), pytest.raises(GaveUp), others.held(NAME, tries(TIMEOUT * 20)):
            pytest.fail("the holder was not kept alive")

    def test_the_connection_is_closed_when_there_is_no_lock(self, url: str, cluster: Cluster) -> None:
        with open_locks(url, timeout=TIMEOUT).held(NAME):
            assert cluster.execute(OTHERS)
        wait_for_none(cluster)

    def test_a_connection_that_was_lost_meanwhile_is_made_again(self, url: str, cluster: Cluster) -> None:
        locks = open_locks(url, timeout=TIMEOUT)
        with locks.held("first"):
            end_connections(cluster)
            with locks.attempt(NAME) as got:
                assert got
            with locks.attempt(NAME) as got:
                assert got

    def test_who_waits_fails_when_the_server_has_gone(self, url: str, cluster: Cluster) -> None:
        with holder(url):
            cluster.stop()
            try:
                with pytest.raises(Unavailable, match="the database is unreachable"):
                    get(url)
            finally:
                cluster.start()

    def test_a_server_process_that_has_stopped_holds_nobody_up_without_bound(self, url: str, cluster: Cluster) -> None:
        wait_for_none(cluster)
        locks = open_locks(url, timeout=TIMEOUT)
        with locks.held("first"):
            ((backend,),) = cluster.execute(OTHERS)
            os.kill(backend, signal.SIGSTOP)
            try:
                with suppress(Unavailable), locks.attempt(NAME):
                    pass
                with locks.attempt(NAME) as got:  # on another connection
                    assert got
            finally:
                os.kill(backend, signal.SIGCONT)

    def test_who_gives_up_leaves_the_name_to_others(self, url: str) -> None:
        locks = open_locks(url, timeout=TIMEOUT)
        with holder(url) as process:
            with pytest.raises(GaveUp), locks.held(NAME, tries(1)):
                pytest.fail("both hold it")
            process.communicate("\n")
        with locks.attempt(NAME) as got:
            assert got
