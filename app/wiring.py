"""The one place that names concrete backends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from stowage.app.child import run_in_child
from stowage.app.content_wiring import open_content
from stowage.app.holding import hold_folders, hold_place
from stowage.app.settings import SETTINGS, Config, ConfigError
from stowage.services.budget import Budget
from stowage.services.content.paths import Layout
from stowage.services.content.protocol import ContentStore
from stowage.services.engine import Engine, Limits, ShownSettings
from stowage.services.errors import Internal
from stowage.services.metadata.store import MetadataStore, is_current, upgrade
from stowage.services.meter import UNMETERED, StoreMeter
from stowage.services.registry.client import RegistryClient
from stowage.services.registry.search import HUB_INDEX
from stowage.services.registry.transport import Proxies
from stowage.services.registry.urls import Downloads
from stowage.services.transfer_board import FileBoard, TransferBoard

_RETRY_SECONDS = 1.0
"""The delay before a failed transfer is first retried."""

_TURN_SECONDS = 10.0
"""How long another writer of the same blob is watched before it counts as too slow to wait for."""

_MEMORY_SECONDS = 10.0
"""How long a request waits for memory. Two requests that hold a part and need more could otherwise wait for each other."""


def build_engine(config: Config, meter: StoreMeter | None = None) -> Engine:
    """The engine for this configuration, for the life of the process. The database must already be at the newest revision.

    Raises ConfigError if the database and the content do not belong to the same store, or a bucket cannot be used.
    """
    metadata = MetadataStore(
        config.database_url,
        event_history=config.event_history,
        timeout=config.database_timeout,
        place=hold_place(config),
        meter=meter or UNMETERED,
    )
    try:
        content = open_content(config, metadata, meter or UNMETERED)
    except BaseException:
        metadata.close()
        raise
    board = FileBoard(config.root / "transfers") if config.database_file else metadata.board()
    return _compose(config, metadata, content, board)


@contextmanager
def open_engine(config: Config) -> Iterator[Engine]:
    """Upgrade the database to the newest revision, and open the engine for the duration of a command.

    Raises ConfigError if there is no store, rather than create an empty one.
    """
    with open_metadata(config):
        pass
    engine = build_engine(config)
    try:
        yield engine
    finally:
        engine.metadata.close()


@contextmanager
def open_metadata(config: Config) -> Iterator[MetadataStore]:
    """Upgrade the database to the newest revision, and open it for the duration of a command; raises as `open_engine` does."""
    file, is_new = config.database_file, config.bucket or not Layout(config.content_root).store_id.exists()
    if is_new and file and not file.exists():
        raise ConfigError(f"STOWAGE_ROOT: there is no store in {config.root}: {file} does not exist.")
    place = hold_place(config)
    if is_new and not file and not is_current(config.database_url, timeout=config.database_timeout, place=place):
        raise ConfigError(f"STOWAGE_DATABASE_URL: there is no store in {config.database_name}.")
    upgrade(config.database_url, config.platform, timeout=config.database_timeout, place=place)
    metadata = MetadataStore(config.database_url, event_history=config.event_history, timeout=config.database_timeout, place=place)
    try:
        yield metadata
    finally:
        metadata.close()


def _compose(config: Config, metadata: MetadataStore, content: ContentStore, board: TransferBoard) -> Engine:
    proxies = Proxies.from_environ(os.environ)
    return Engine(
        content=content,
        metadata=metadata,
        registry=RegistryClient(
            insecure=config.insecure_registries,
            mirrors=config.registry_mirrors,
            certs=config.certs_dirs,
            hub_index=config.search_index or HUB_INDEX,
            auth_realms=config.auth_realms,
            foreign_hosts=config.foreign_layer_hosts,
            proxies=proxies,
            stall_seconds=config.stall_seconds,
            insecure_setting=SETTINGS["insecure_registries"].name,
            auth_realms_setting=SETTINGS["auth_realms"].name,
        ),
        imports=Downloads(config.import_urls, setting=SETTINGS["import_urls"].name),
        platform=config.platform,
        clock=metadata.clock,
        limits=_limits(config),
        memory=Budget(config.request_memory, config.request_memory // 4, seconds=_MEMORY_SECONDS),
        board=board,
        shown=_shown(config, proxies.masked),
    )


def _limits(config: Config) -> Limits:
    return Limits(
        decompression_ratio=config.decompression_ratio,
        decompression_bytes=config.decompression_bytes,
        concurrent_downloads=config.concurrent_downloads,
        concurrent_uploads=config.concurrent_uploads,
        download_attempts=config.download_attempts,
        retry_seconds=_RETRY_SECONDS,
        least_rate=config.least_rate,
        stall_seconds=config.stall_seconds,
        turn_seconds=min(_TURN_SECONDS, config.stall_seconds),
        least_free=config.least_free,
        listed_entries=config.listed_entries,
        listing_seconds=config.listing_seconds,
        listing_bytes=config.listing_bytes,
        family_images=config.family_images,
    )


def _shown(config: Config, proxies: Proxies) -> ShownSettings:
    return ShownSettings(
        root=str(config.root),
        store="s3" if config.bucket else "filesystem",
        database="sqlite" if config.database_file else "postgresql",
        registry_mirrors=config.registry_mirrors,
        insecure_registries=config.insecure_registries,
        http_proxy=proxies.http,
        https_proxy=proxies.https,
        no_proxy=proxies.none,
    )


def prepare_store(config: Config) -> None:
    """Hold the folders and migrate the database.

    Raises ConfigError if another service holds the folders, Internal if the migration fails, and Unavailable, Unsupported or
    InvalidParameter if the database cannot be used.
    """
    hold_folders(config)
    place = hold_place(config)
    if not is_current(config.database_url, config.platform, timeout=config.database_timeout, place=place):
        _migrate(config, place)


def _migrate(config: Config, place: str) -> None:
    """Migrate the database in a child process: what only the migration imports would stay in the memory of the service.

    The child ends with the service: a migration that is cut has changed nothing.
    """

    def work() -> None:
        upgrade(config.database_url, config.platform, timeout=config.database_timeout, place=place, change_platform=True)

    if problem := run_in_child(work, ended="the migration of the database was ended"):
        raise Internal(problem)
