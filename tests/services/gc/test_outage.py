"""PostgreSQL is away for longer than leases live, while one process pulls and another prunes as soon as it is back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.gc import collector
from stowage.services.gc.collector import collect_unused
from stowage.services.gc.verify import verify_store
from stowage.services.oci.digest import Digest
from tests.builders import Layout, make_layer
from tests.contracts.stores import PROJECT
from tests.engines import metadata_store, real_engine
from tests.fake_registry import FakeRegistry
from tests.postgresql import Cluster, Database, running_cluster
from tests.waiting import poll

ALIVE_SECONDS = 2
GRACE_SECONDS = 6
PULL = f"""
import sys
from pathlib import Path
from stowage.services.gc import leases
from tests.services.gc.test_outage import open_store
from tests.services.images.pulls import pull

leases.RENEWAL_SECONDS, leases.RETRY_SECONDS, leases.ALIVE_SECONDS = 1, 1, {ALIVE_SECONDS}
engine = open_store(Path(sys.argv[1]), sys.argv[2])
print(pull(engine, sys.argv[3])[-1].status)
"""


def open_store(root: Path, url: str) -> Engine:
    return real_engine(metadata_store(url), FilesystemStore(root), root / "transfers")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.fixture
def database_url(cluster: Cluster) -> str:
    url = cluster.create_database("stowage")
    with closing(Database(url)):
        return url


@pytest.fixture
def engine(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The store of the process that prunes."""
    monkeypatch.setattr(collector, "GRACE_SECONDS", GRACE_SECONDS)
    engine = open_store(tmp_path / "root", database_url)
    yield engine
    engine.metadata.close()


@pytest.fixture
def layout() -> Layout:
    layout = Layout()
    layout.tag(layout.image([make_layer("first", 40_000), make_layer("second", 40_000)], compression="none"), "some:1")
    return layout


@pytest.fixture
def pull(engine: Engine, layout: Layout, registry: FakeRegistry, tmp_path: Path, database_url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has pulled all but one layer, and waits for the rest of that."""
    _, second = layers(layout)
    rest = [digest for digest in map(Digest.parse, layout.blobs) if digest != second]
    name = registry.publish(layout, layout.manifests[0])
    registry.pause_after[str(second)] = 1000
    command = [sys.executable, "-c", PULL, str(tmp_path / "root"), database_url, name]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            poll(lambda: all(is_there(engine, digest) for digest in rest))
            yield process
        finally:
            registry.resume.set()
            process.kill()


def layers(layout: Layout) -> list[Digest]:
    return [Digest.parse(digest) for digest, blob in layout.blobs.items() if len(blob) > 40_000]


def is_there(engine: Engine, digest: Digest) -> bool:
    with engine.metadata.read() as tx:
        return digest in tx.graph.present([digest])


def leave(cluster: Cluster) -> None:
    """Take the database away until every lease is late."""
    cluster.stop()
    time.sleep(2 * ALIVE_SECONDS)
    cluster.start()


def test_a_pull_goes_on_and_its_blobs_stay(
    cluster: Cluster, engine: Engine, layout: Layout, registry: FakeRegistry, pull: subprocess.Popen[str]
) -> None:
    leave(cluster)
    for _ in range(4):
        assert not collect_unused(engine.metadata, engine.content).blobs
        time.sleep(ALIVE_SECONDS)
    registry.resume.set()
    output, _ = pull.communicate(timeout=60)
    assert output.startswith("Status: Downloaded newer image")
    collect_unused(engine.metadata, engine.content)
    assert all(is_there(engine, digest) for digest in layers(layout))
    assert list(verify_store(engine.metadata, engine.content)) == []


def test_what_a_process_left_that_has_ended_meanwhile_is_removed_after_another_period(
    cluster: Cluster, engine: Engine, layout: Layout, pull: subprocess.Popen[str]
) -> None:
    pull.kill()
    leave(cluster)
    first, _ = layers(layout)
    assert not collect_unused(engine.metadata, engine.content).blobs
    poll(lambda: first in collect_unused(engine.metadata, engine.content).blobs, 2 * GRACE_SECONDS)
