"""Writers of one blob on two nodes, with a bucket and PostgreSQL: one fetch if it advances, and nobody held up if it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from stowage.services.content import object_store
from stowage.services.engine import Engine
from stowage.services.errors import Conflict
from stowage.services.filters import Filters
from stowage.services.gc.leases import hold
from stowage.services.images.prune import prune_images
from stowage.services.intake.ingest import fetch_blob
from stowage.services.registry.protocol import BlobStream
from tests.buckets import open_bucket
from tests.engines import LIMITS, metadata_store, real_engine
from tests.postgresql import Database
from tests.seaweedfs import Seaweed
from tests.services.intake.test_concurrent_writers import CONTENT, DIGEST, Remote, Stream, is_present, running
from tests.waiting import poll

TURN_SECONDS = 5
"""Longer than it takes until one node sees how far another is."""


@pytest.fixture
def nodes(migrated_postgresql: Database, seaweedfs: Seaweed, tmp_path: Path) -> Iterator[list[Engine]]:
    """Two engines with a root of their own each."""
    database, bucket = migrated_postgresql.empty(), seaweedfs.url(seaweedfs.create_bucket())
    with pytest.MonkeyPatch.context() as patch, ExitStack() as opened:
        patch.setattr(object_store, "ASK_BYTES", 0)  # the content of these tests is small
        for name, value in seaweedfs.environ().items():
            patch.setenv(name, value)
        engines = []
        for number in range(2):
            root = tmp_path / str(number)
            metadata = opened.enter_context(closing(metadata_store(database)))
            content = open_bucket(root, bucket, metadata, locks=metadata.locks(), arrivals=metadata.arrivals())
            limits = replace(LIMITS, turn_seconds=TURN_SECONDS)
            engines.append(replace(real_engine(metadata, content, tmp_path / "transfers"), limits=limits))
        yield engines
        poll(lambda: not {"arrivals", "session locks"} & {thread.name for thread in threading.enumerate()})


def fetch(engine: Engine, remote: Callable[[int], BlobStream]) -> None:
    with hold(engine.metadata, engine.content, "fetch", keep_on_failure=True) as lease:
        fetch_blob(engine, lease, remote, digest=DIGEST, size=len(CONTENT))


def test_a_fetch_that_advances_on_another_node_is_waited_for(nodes: list[Engine]) -> None:
    begun, other = threading.Event(), Remote()

    def trickle(offset: int) -> Stream:
        begun.set()
        return Stream(offset, chunks())

    def chunks() -> Iterator[bytes]:
        """For three turns."""
        for start in range(0, len(CONTENT), len(CONTENT) // 60):
            yield CONTENT[start : start + len(CONTENT) // 60]
            time.sleep(TURN_SECONDS / 20)

    with hold(nodes[0].metadata, nodes[0].content, "observer") as lease:
        lease.add([DIGEST])
        with running(lambda: fetch(nodes[0], trickle)):
            assert begun.wait(60)
            fetch(nodes[1], other)
            assert is_present(nodes[1])
    assert other.asked == []


def test_a_fetch_that_has_stopped_on_another_node_holds_nobody_up(nodes: list[Engine]) -> None:
    stopped, other = Remote(stops=True), Remote()
    with running(lambda: fetch(nodes[0], stopped)):
        poll(lambda: stopped.asked)
        fetch(nodes[1], other)
        assert is_present(nodes[1])
        stopped.goes_on.set()
    assert other.asked == [0]


def test_a_prune_runs_on_one_node_at_a_time(nodes: list[Engine]) -> None:
    with nodes[0].content.exclusive("prune") as alone:
        assert alone
        with pytest.raises(Conflict, match="a prune operation is already running"):
            prune_images(nodes[1], filters=Filters({}))
    prune_images(nodes[1], filters=Filters({}))
