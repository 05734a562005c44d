"""How long others wait for a node that is in the middle of a change when something happens to it, on PostgreSQL of Debian.

    python -m benchmarks.stalls [--timeout SECONDS]

One process begins a change and holds it. Then something happens, and another process wants to make a change of its own, again and again
until it succeeds. The table has the seconds until that, and what it was told before.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from stowage.services.errors import EngineError
from stowage.services.metadata.database import TIMEOUT_SECONDS
from tests.engines import metadata_store
from tests.ports import free_port
from tests.postgresql import Cluster, Database, running_cluster

REPOSITORY = Path(__file__).resolve().parents[1]
HOLDER = """
import sys, time
from tests.engines import metadata_store
store = metadata_store(sys.argv[1], timeout=int(sys.argv[2]))
with store.write() as tx:
    tx.events.append(time=1, event_type="image", action="begun", actor=Actor("", {}))
    tx.events.flush()
    print("holds", flush=True)
    time.sleep(1000)
""".replace("import sys", "from stowage.services.metadata.records import Actor\nimport sys")
_HOLDER_BACKEND = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted LIMIT 1"

Stall = Callable[[subprocess.Popen[str], Cluster], None]


def killed(holder: subprocess.Popen[str], _: Cluster) -> None:
    """The process is killed"""
    holder.kill()


def stopped(holder: subprocess.Popen[str], _: Cluster) -> None:
    """The process stops (SIGSTOP)"""
    holder.send_signal(signal.SIGSTOP)


def connection_cut(_: subprocess.Popen[str], cluster: Cluster) -> None:
    """Its connection is ended by an administrator"""
    ((pid,),) = cluster.execute(_HOLDER_BACKEND)
    cluster.execute(f"SELECT pg_terminate_backend({pid})")


def server_killed(_: subprocess.Popen[str], cluster: Cluster) -> None:
    """The server's process that makes the change stops (SIGSTOP), and is killed (SIGKILL)"""
    ((pid,),) = cluster.execute(_HOLDER_BACKEND)
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)


def restarted(_: subprocess.Popen[str], cluster: Cluster) -> None:
    """The server crashes and is started again"""
    cluster.stop()
    cluster.start()


STALLS: tuple[Stall, ...] = (killed, stopped, connection_cut, server_killed, restarted)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeout", type=int, default=TIMEOUT_SECONDS, help="STOWAGE_DATABASE_TIMEOUT (default: as there)")
    options = parser.parse_args()
    print(f"| what happens to the change | others wait, s (timeout {options.timeout}) | and are told |\n|---|---|---|")
    for stall in STALLS:
        with running_cluster(port=free_port()) as cluster:
            seconds, told = measure(stall, cluster, options.timeout)
            print(f"| {(stall.__doc__ or '').strip()} | {seconds:.1f} | {'; '.join(sorted(told)) or 'nothing'} |", flush=True)


def measure(stall: Stall, cluster: Cluster, timeout: int) -> tuple[float, set[str]]:
    """The seconds that another writer waits, and the errors that it gets."""
    with closing(Database(cluster.create_database("stowage"))):
        url = cluster.url("stowage", tcp=True)
        command = [sys.executable, "-c", HOLDER, url, str(timeout)]
        told: set[str] = set()
        with (
            closing(metadata_store(url, timeout=timeout)) as store,
            subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as holder,
        ):
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline()
                began = time.monotonic()
                stall(holder, cluster)
                while True:
                    try:
                        with store.write():
                            return time.monotonic() - began, told
                    except EngineError as error:
                        told.add(str(error)[:60])
                        time.sleep(0.1)
            finally:
                holder.kill()


if __name__ == "__main__":
    main()
