"""Writers of one blob on two nodes, with a bucket and PostgreSQL: each fetches it, and nobody is held up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import cast

import pytest

from stowage.services.content.object_store import S3Store
from stowage.services.engine import Engine
from stowage.services.filters import Filters
from stowage.services.gc.leases import hold
from stowage.services.images.prune import prune_images
from stowage.services.registry.repository import BlobStream
from tests.buckets import open_bucket
from tests.engines import metadata_store, real_engine
from tests.postgresql import Database
from tests.seaweedfs import Seaweed
from tests.services.intake.fetching import fetch_blob
from tests.services.intake.test_concurrent_writers import CONTENT, DIGEST, Remote, is_present, running
from tests.waiting import poll


@pytest.fixture
def nodes(migrated_postgresql: Database, seaweedfs: Seaweed, tmp_path: Path) -> Iterator[list[Engine]]:
    """Two engines with a root of their own each."""
    database, bucket = migrated_postgresql.empty(), seaweedfs.url(seaweedfs.create_bucket())
    with pytest.MonkeyPatch.context() as patch, ExitStack() as opened:
        for name, value in seaweedfs.environ().items():
            patch.setenv(name, value)
        engines = []
        for number in range(2):
            metadata = opened.enter_context(closing(metadata_store(database)))
            content = open_bucket(tmp_path / str(number), bucket, metadata)
            engines.append(real_engine(metadata, content, tmp_path / "transfers"))
        yield engines


def fetch(engine: Engine, remote: Callable[[int], BlobStream]) -> None:
    with hold(engine.metadata, engine.content, "fetch", keep_on_failure=True) as lease:
        fetch_blob(engine, lease, remote, digest=DIGEST, size=len(CONTENT))


def read(engine: Engine) -> bytes:
    return engine.content.read(DIGEST)


def objects(engine: Engine) -> int:
    """How many objects are in the bucket."""
    return sum(map(len, cast(S3Store, engine.content)._bucket.list("blobs")))


def test_a_fetch_on_another_node_holds_nobody_up_and_both_are_stored(nodes: list[Engine]) -> None:
    stopped, other = Remote(stops=True), Remote()
    with hold(nodes[0].metadata, nodes[0].content, "observer") as lease:
        lease.add([DIGEST])
        with running(lambda: fetch(nodes[0], stopped)):
            poll(lambda: stopped.asked)
            fetch(nodes[1], other)
            assert (is_present(nodes[1]), other.asked) == (True, [0])
            stopped.goes_on.set()
        assert [read(node) for node in nodes] == [CONTENT, CONTENT]
        assert objects(nodes[0]) == 1, "that of the first to end is gone"


def test_a_prune_runs_beside_that_of_another_node(nodes: list[Engine]) -> None:
    with nodes[0].content.exclusive("prune") as alone:
        assert alone
        prune_images(nodes[1], filters=Filters({}))
