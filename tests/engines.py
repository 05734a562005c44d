"""The parts of an engine with settings that fit tests: as by default, but that retries come at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from stowage.services.archive.bounds import Bounds
from stowage.services.budget import Budget
from stowage.services.content.protocol import ContentStore
from stowage.services.engine import Engine, Limits
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.platform import Platform
from stowage.services.registry.client import RegistryClient
from stowage.services.registry.urls import Downloads
from stowage.services.transfer_board import FileBoard

PLATFORM = Platform("linux", "amd64")
ON_EVERY_DATABASE = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
"""Run tests that use the fixture `metadata`, and so `engine`, on each database."""
ON_EVERY_STORAGE = pytest.mark.parametrize("storage", ["folder", "s3"], indirect=True)
"""Run a test that uses the fixture `engine` on a folder and on a bucket; a module says STORAGES for all of its tests."""

REQUEST_MEMORY = 512 << 20
LIMITS = Limits(
    decompression_ratio=200,
    decompression_bytes=1 << 30,
    concurrent_downloads=3,
    concurrent_uploads=5,
    download_attempts=5,
    retry_seconds=0.01,
    least_rate=1024,
    stall_seconds=60,
    turn_seconds=10,
    least_free=0,
    listed_entries=500_000,
    listing_seconds=120,
    listing_bytes=256 << 20,
    family_images=20_000,
)


def registry_client(**settings: Any) -> RegistryClient:
    usual: dict[str, Any] = {
        "stall_seconds": LIMITS.stall_seconds,
        "insecure_setting": "STOWAGE_INSECURE_REGISTRIES",
        "auth_realms_setting": "STOWAGE_AUTH_REALMS",
    }
    return RegistryClient(**(usual | settings))


def memory_budget(size: int = REQUEST_MEMORY, *, seconds: float = 10) -> Budget:
    return Budget(size, size // 4, seconds=seconds)


def downloads(*allowed: str) -> Downloads:
    return Downloads(allowed, setting="STOWAGE_IMPORT_URLS")


def real_engine(metadata: MetadataStore, content: ContentStore, transfers: Path) -> Engine:
    """An engine on these stores and this folder, with a registry client that may use plain HTTP on loopback; linux/amd64 preferred."""
    return Engine(
        content=content,
        metadata=metadata,
        registry=registry_client(insecure=("127.0.0.0/8", "::1/128")),
        imports=downloads(),
        platform=PLATFORM,
        clock=time.time_ns,
        limits=LIMITS,
        memory=memory_budget(),
        board=FileBoard(transfers),
    )


def metadata_store(url: str, *, event_history: int = 4096, timeout: int = 30, place: str = "") -> MetadataStore:
    return MetadataStore(url, event_history=event_history, timeout=timeout, place=place)


def bounds(ratio: int = LIMITS.decompression_ratio, size: int = LIMITS.decompression_bytes) -> Bounds:
    return Bounds(ratio, size, memory_budget())
