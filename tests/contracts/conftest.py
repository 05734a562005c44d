"""The stores that keep the contract."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.content.protocol import ContentStore
from stowage.services.metadata.protocol import MetadataStore
from tests.contracts.recorded import RecordedStore, open_bucket
from tests.contracts.stores import Backend
from tests.engines import metadata_store
from tests.seaweedfs import Seaweed


@pytest.fixture(scope="session")
def bucket(seaweedfs: Seaweed) -> str:
    """A bucket for all tests: each has a prefix of its own."""
    return seaweedfs.create_bucket()


@pytest.fixture(params=["filesystem", "s3"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    root = tmp_path / "store"
    if request.param == "filesystem":
        yield Backend(FilesystemStore(root), f"FilesystemStore(Path({str(root)!r}))")
        return
    server: Seaweed = request.getfixturevalue("seaweedfs")
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    url = server.url(request.getfixturevalue("bucket"), f"tests/{uuid4().hex}")
    database = f"sqlite:///{tmp_path}/rows.db"
    shutil.copy(request.getfixturevalue("migrated_database"), tmp_path / "rows.db")
    metadata = metadata_store(database)
    store = cast(ContentStore, RecordedStore(open_bucket(root, url, metadata), metadata))
    yield Backend(store, f"open_recorded(Path({str(root)!r}), {url!r}, {database!r})")
    metadata.close()


@pytest.fixture
def store(backend: Backend) -> ContentStore:
    return backend.store


@pytest.fixture
def other_store(database_url: str) -> Iterator[MetadataStore]:
    """The database of a metadata store as another process opens it."""
    other = metadata_store(database_url)
    yield other
    other.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every contract of the metadata store is kept on every database.

    A fixture `database` of this folder would not do: the fixtures that depend on the one of all tests would keep the value of that.
    """
    if "database" in metafunc.fixturenames:
        metafunc.parametrize("database", ["sqlite", "postgresql"], indirect=True)
