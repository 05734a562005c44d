"""The one place that names concrete backends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.config import Config
from services.content.filesystem import FilesystemStore
from services.engine import Engine, Limits, ShownSettings
from services.metadata.session import SqlMetadataStore, upgrade
from services.registry.client import RegistryClient


def build_engine(config: Config) -> Engine:
    """The engine that this configuration describes, for the life of a process; its database is at the newest revision already."""
    return _compose(config, SqlMetadataStore(config.database_url))


@contextmanager
def open_engine(config: Config) -> Iterator[Engine]:
    """The same engine for the time of a command, after its database was brought to the newest revision."""
    upgrade(config.database_url)
    metadata = SqlMetadataStore(config.database_url)
    try:
        yield _compose(config, metadata)
    finally:
        metadata.close()


def _compose(config: Config, metadata: SqlMetadataStore) -> Engine:
    return Engine(
        content=FilesystemStore(config.content_root),
        metadata=metadata,
        registry=RegistryClient(insecure=config.insecure_registries, mirrors=config.registry_mirrors),
        platform=config.platform,
        clock=time.time_ns,
        limits=Limits(
            decompression_ratio=config.decompression_ratio,
            decompression_bytes=config.decompression_bytes,
            concurrent_downloads=config.concurrent_downloads,
        ),
        import_urls=config.import_urls,
        shown=ShownSettings(
            root=str(config.root), registry_mirrors=config.registry_mirrors, insecure_registries=config.insecure_registries
        ),
    )
