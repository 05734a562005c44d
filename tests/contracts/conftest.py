"""The stores that keep the contract."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.content.protocol import ContentStore
from stowage.services.metadata.store import MetadataStore
from tests.buckets import RecordedStore, open_bucket
from tests.contracts.stores import Backend
from tests.engines import metadata_store


@pytest.fixture(params=["filesystem", "s3"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    root = tmp_path / "store"
    if request.param == "filesystem":
        yield Backend(FilesystemStore(root), f"FilesystemStore(Path({str(root)!r}))")
        return
    url: str = request.getfixturevalue("bucket_url")
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
