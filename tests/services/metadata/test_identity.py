"""What a bucket remembers of its database."""

from __future__ import annotations

from contextlib import closing

from tests.engines import metadata_store
from tests.postgresql import Cluster


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
