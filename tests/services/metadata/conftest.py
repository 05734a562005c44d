"""A PostgreSQL that tests may stop, start and configure, and a store on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from stowage.services.metadata.store import MetadataStore
from tests.engines import metadata_store
from tests.ports import free_port
from tests.postgresql import Cluster, Database, running_cluster
from tests.services.metadata.stores import TIMEOUT


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
def store(url: str) -> Iterator[MetadataStore]:
    with closing(metadata_store(url, timeout=TIMEOUT)) as opened:
        yield opened
