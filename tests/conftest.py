"""Fixtures that every suite shares: a real engine on a folder of the test's own, and a registry that may be told to fail."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.metadata.store import SqlMetadataStore, upgrade
from tests.engines import LIMITS, PLATFORM, downloads, memory_budget, metadata_store, registry_client
from tests.fake_registry import FakeRegistry

settings.register_profile("stowage", deadline=None)  # how long an example takes says more about the machine than about the code
settings.load_profile("stowage")


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database at the newest revision, copied by every test that needs one."""
    path = tmp_path_factory.mktemp("database") / "stowage.db"
    upgrade(f"sqlite:///{path}", PLATFORM)
    return path


@pytest.fixture
def metadata(tmp_path: Path, migrated_database: Path) -> Iterator[SqlMetadataStore]:
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(migrated_database, root / "stowage.db")
    store = metadata_store(f"sqlite:///{root}/stowage.db")
    yield store
    store.close()


@pytest.fixture
def content(tmp_path: Path) -> FilesystemStore:
    return FilesystemStore(tmp_path / "root")


@pytest.fixture
def engine(metadata: SqlMetadataStore, content: FilesystemStore) -> Engine:
    """A real engine: files, SQLite, a registry client that may use plain HTTP on loopback, linux/amd64 preferred."""
    return Engine(
        content=content,
        metadata=metadata,
        registry=registry_client(insecure=("127.0.0.0/8", "::1/128")),
        downloads=downloads(),
        platform=PLATFORM,
        clock=time.time_ns,
        limits=LIMITS,
        memory=memory_budget(),
    )


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry().serve() as running:
        yield running
