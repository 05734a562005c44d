"""What tests do with a store on PostgreSQL, and with its server."""

from __future__ import annotations

from contextlib import suppress

import pytest
from sqlalchemy import text

from stowage.services.errors import Unavailable
from stowage.services.metadata.store import MetadataStore, Transaction
from tests.postgresql import Cluster
from tests.rows import add_blobs, digest

TIMEOUT = 3
A, B = digest("a"), digest("b")


def add(store: MetadataStore, label: str) -> None:
    with store.write() as tx:
        add_blobs(tx, [label])


def add_in_the_end(store: MetadataStore, label: str, *, tries: int) -> None:
    for _ in range(tries):
        with suppress(Unavailable):
            add(store, label)
            return
    pytest.fail("the writer was held up without bound")


def blobs(store: MetadataStore) -> set[object]:
    with store.read() as tx:
        return set(tx.graph.all_blobs())


def execute(tx: Transaction, statement: str) -> None:
    tx.graph._connection.execute(text(statement))


def backends(cluster: Cluster) -> list[int]:
    """The server processes of the engine's connections."""
    rows = cluster.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'stowage' AND datname = 'stowage'")
    return [pid for (pid,) in rows]


def terminate(cluster: Cluster) -> None:
    """End the engine's connections, as an administrator may."""
    for pid in backends(cluster):
        cluster.execute(f"SELECT pg_terminate_backend({pid})")
