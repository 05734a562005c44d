"""The stores that keep the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.content.filesystem import FilesystemStore
from services.content.protocol import ContentStore
from tests.contracts.stores import Backend


@pytest.fixture(params=["filesystem"])
def backend(tmp_path: Path) -> Backend:
    return Backend(FilesystemStore(tmp_path / "store"), f"FilesystemStore(Path({str(tmp_path / 'store')!r}))")


@pytest.fixture
def store(backend: Backend) -> ContentStore:
    return backend.store
