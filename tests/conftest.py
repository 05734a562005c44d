"""Fixtures that every suite shares: a real engine on a folder of the test's own, and a registry that may be told to fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from hypothesis import settings

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.metadata.store import MetadataStore, upgrade
from tests.buckets import open_bucket
from tests.engines import PLATFORM, metadata_store, real_engine
from tests.fake_registry import FakeRegistry
from tests.postgresql import Cluster, Database, running_cluster
from tests.seaweedfs import Seaweed, running_seaweed

settings.register_profile("stowage", deadline=None)  # how long an example takes says more about the machine than about the code
settings.load_profile("stowage")


@pytest.fixture(scope="session")
def database(request: pytest.FixtureRequest) -> str:
    """Which database a test uses: "sqlite", unless its parameter says "postgresql"."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database at the newest revision, copied by every test that needs one."""
    path = tmp_path_factory.mktemp("database") / "stowage.db"
    upgrade(f"sqlite:///{path}", PLATFORM)
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A running PostgreSQL; skips the test if it is not installed."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql: Cluster) -> Iterator[Database]:
    with closing(Database(postgresql.create_database("stowage"))) as database:
        yield database


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[Seaweed]:
    """A running S3 server, which every test shares: each makes a bucket of its own."""
    with running_seaweed() as server:
        yield server


@pytest.fixture
def own_seaweedfs() -> Iterator[Seaweed]:
    """A running S3 server that the test may stop."""
    with running_seaweed() as server:
        yield server


@pytest.fixture(scope="session")
def empty_database(request: pytest.FixtureRequest, database: str) -> Callable[[Path], str]:
    """Returns the URL of an empty database at the newest revision: an SQLite file in this folder, or the PostgreSQL of all tests."""
    if database == "postgresql":
        shared: Database = request.getfixturevalue("migrated_postgresql")
        return lambda _: shared.empty()
    migrated: Path = request.getfixturevalue("migrated_database")

    def copy(folder: Path) -> str:
        shutil.copy(migrated, folder / "stowage.db")
        return f"sqlite:///{folder}/stowage.db"

    return copy


@pytest.fixture
def database_url(tmp_path: Path, empty_database: Callable[[Path], str]) -> str:
    """An empty database for a store whose root is `root` in the test's folder."""
    (tmp_path / "root").mkdir()
    return empty_database(tmp_path / "root")


@pytest.fixture
def metadata(database_url: str) -> Iterator[MetadataStore]:
    store = metadata_store(database_url)
    yield store
    store.close()


@pytest.fixture(scope="session")
def bucket(seaweedfs: Seaweed) -> str:
    """A bucket for all tests: each has a prefix of its own."""
    return seaweedfs.create_bucket()


@pytest.fixture
def bucket_url(seaweedfs: Seaweed, bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty prefix, for which the environment has credentials."""
    for name, value in seaweedfs.environ().items():
        monkeypatch.setenv(name, value)
    return seaweedfs.url(bucket, f"tests/{uuid4().hex}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that wait for servers and clients: in other processes the others compute meanwhile."""
    items.sort(key=lambda item: "conformance" not in item.path.parts)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module whose tests are about any content store names them in STORAGES."""
    storages = getattr(metafunc.module, "STORAGES", None)
    if storages and "storage" in metafunc.fixturenames:
        metafunc.parametrize("storage", storages, indirect=True)


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> str:
    """Where a test has its blobs: in a "folder", unless its parameter says "s3"."""
    return str(getattr(request, "param", "folder"))


@pytest.fixture
def content(request: pytest.FixtureRequest, storage: str, tmp_path: Path) -> FilesystemStore:
    if storage == "s3":
        store = open_bucket(tmp_path / "root", request.getfixturevalue("bucket_url"), request.getfixturevalue("metadata"))
        return cast(FilesystemStore, store)  # most tests need no files
    return FilesystemStore(tmp_path / "root")


@pytest.fixture
def engine(metadata: MetadataStore, content: FilesystemStore, tmp_path: Path) -> Engine:
    """A real engine: files, and the test's database."""
    return real_engine(metadata, content, tmp_path / "root" / "transfers")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry().serve() as running:
        yield running
