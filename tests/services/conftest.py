"""What the services cost, counted."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import BinaryIO

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.metadata.store import MetadataStore, Transaction
from stowage.services.oci.digest import Digest
from tests.services.costs import Costs


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Costs:
    """Counts from here on what every store does."""
    counted = Costs()
    write, opening, sync = MetadataStore.write, FilesystemStore.open, os.fsync

    def counting_write(store: MetadataStore) -> AbstractContextManager[Transaction]:
        counted.transactions += 1
        return write(store)

    def counting_open(store: FilesystemStore, digest: Digest) -> BinaryIO:
        counted.opened += 1
        return opening(store, digest)

    def counting_sync(handle: int) -> None:
        counted.syncs += 1
        sync(handle)

    monkeypatch.setattr(MetadataStore, "write", counting_write)
    monkeypatch.setattr(FilesystemStore, "open", counting_open)
    monkeypatch.setattr(os, "fsync", counting_sync)
    return counted
