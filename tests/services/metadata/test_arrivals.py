"""What arrives on one node is seen on another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from stowage.services.metadata.store import MetadataStore
from tests.engines import metadata_store
from tests.postgresql import Cluster
from tests.services.metadata.stores import TIMEOUT
from tests.waiting import poll

KEY = "sha256:" + "a" * 64


@pytest.fixture
def store(store: MetadataStore) -> Iterator[MetadataStore]:
    """A store that is closed when no thread uses it any more."""
    yield store
    poll(lambda: all(thread.name != "arrivals" for thread in threading.enumerate()))


def sees(store: MetadataStore, size: int) -> bool:
    """Whether somebody who has not asked before sees so many bytes."""
    return store.arrivals().size(KEY) == size


def test_another_node_sees_how_much_has_arrived_until_it_ends(store: MetadataStore, url: str) -> None:
    sizes = {KEY: 10}
    with closing(metadata_store(url, timeout=TIMEOUT)) as other:
        assert sees(other, 0)
        with store.arrivals().showing(KEY, lambda: sizes[KEY]):
            poll(lambda: sees(other, 10))
            sizes[KEY] = 20
            poll(lambda: sees(other, 20))
        poll(lambda: sees(other, 0))


def test_what_a_node_does_not_renew_is_not_seen(store: MetadataStore, url: str, cluster: Cluster) -> None:
    cluster.execute(f"INSERT INTO arrival VALUES ('{KEY}', 10, extract(epoch FROM clock_timestamp()) - 9)", "stowage")
    assert sees(store, 0)


def test_whoever_asks_often_asks_the_database_seldom(store: MetadataStore, cluster: Cluster) -> None:
    arrivals = store.arrivals()
    assert arrivals.size(KEY) == 0
    cluster.execute(f"INSERT INTO arrival VALUES ('{KEY}', 10, extract(epoch FROM clock_timestamp()))", "stowage")
    assert arrivals.size(KEY) == 0
    poll(lambda: arrivals.size(KEY) == 10)


def test_no_change_of_the_store_is_waited_for(store: MetadataStore, cluster: Cluster) -> None:
    with cluster.connect("stowage") as other:
        other.execute(f"SELECT pg_advisory_lock({int.from_bytes(b'stowage')})")
        with store.arrivals().showing(KEY, lambda: 10):
            poll(lambda: sees(store, 10))
        assert store.board().post("process", "page", []) == set()


def test_while_the_database_is_away_nothing_fails(store: MetadataStore, cluster: Cluster) -> None:
    arrivals = store.arrivals()
    with arrivals.showing(KEY, lambda: 10):
        poll(lambda: sees(store, 10))
        cluster.stop()
        try:
            assert sees(store, 0)
        finally:
            cluster.start()  # and its rows are gone
        poll(lambda: sees(store, 10))
