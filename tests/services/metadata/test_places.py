"""A database on PostgreSQL is used from one place at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from stowage.services.errors import EngineError, Internal, Unavailable
from stowage.services.metadata.store import MetadataStore
from tests.engines import metadata_store
from tests.postgresql import Cluster
from tests.services.metadata.stores import TIMEOUT, A, B, add, blobs


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

    def test_a_place_that_came_while_the_connection_was_lost_is_left_alone(self, url: str, cluster: Cluster) -> None:
        first, second = (metadata_store(url, timeout=TIMEOUT, place=place) for place in ("here", "there"))
        add(first, "a")
        cluster.stop()
        cluster.start()
        add(second, "b")
        for attempt in (lambda: add(first, "c"), lambda: blobs(first), first.check):
            with pytest.raises(Unavailable, match="another Stowage uses this database"):
                attempt()
        assert blobs(second) == {A, B}
        second.close()
        add(first, "b")
        assert blobs(first) == {A, B}
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
        def come(number: int) -> MetadataStore | None:
            store = metadata_store(url, place=str(number))
            with suppress(EngineError):
                store.store_id()
                return store
            return None

        with ThreadPoolExecutor(8) as pool:
            admitted = [store for store in pool.map(come, range(8)) if store]
        assert len(admitted) == 1
        admitted[0].close()
