"""The stores that keep the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.content.protocol import ContentStore
from stowage.services.metadata.protocol import MetadataStore
from tests.contracts.stores import Backend
from tests.engines import metadata_store


@pytest.fixture(params=["filesystem"])
def backend(tmp_path: Path) -> Backend:
    return Backend(FilesystemStore(tmp_path / "store"), f"FilesystemStore(Path({str(tmp_path / 'store')!r}))")


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
