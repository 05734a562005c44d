"""Opens the content store of the settings, a folder or a bucket, and checks that it belongs to the database."""

from __future__ import annotations

import logging
import time
from importlib.util import find_spec

from stowage.app.child import run_in_child
from stowage.app.settings import Config, ConfigError
from stowage.services.content.bucket import Bucket
from stowage.services.content.copying import BucketTarget, CopyTarget, FolderTarget, is_unfinished
from stowage.services.content.filesystem import FilesystemStore
from stowage.services.content.object_store import S3Store
from stowage.services.content.paths import Layout
from stowage.services.content.protocol import ContentStore
from stowage.services.errors import Conflict
from stowage.services.metadata.objects import MetadataObjects
from stowage.services.metadata.store import MetadataStore
from stowage.services.meter import UNMETERED, StoreMeter
from stowage.services.store.identity import is_one_store

_log = logging.getLogger(__name__)

_UNFINISHED = "the copy of a store to this place is not complete; run the 'stowage copy' that was cut off again, which continues it"

_DAY = 24 * 60 * 60
_START_SECONDS = 5
"""How long a request to the bucket may take while the service starts."""
_LOOK_SECONDS = 0.1


def open_content(config: Config, metadata: MetadataStore, meter: StoreMeter = UNMETERED) -> ContentStore:
    """The content store of this configuration. Raises ConfigError if it cannot be used, or belongs to another database."""
    if config.bucket is None:
        folder = FilesystemStore(config.content_root, meter)
        if is_unfinished(folder.store_id()):
            raise ConfigError(f"STOWAGE_CONTENT_URL: {_UNFINISHED}.")
        _require_one_store(config, metadata, folder)
        return folder
    _require_obstore("STOWAGE_CONTENT_URL")
    # In a child: obstore, once used in a process, hangs in those that it forks, such as the workers of the service.
    problem = run_in_child(
        lambda: _require_own_bucket(metadata, open_bucket(config, metadata, timeout=min(_START_SECONDS, config.content_timeout))),
        ended="the check of the bucket was ended",
    )
    if problem:
        raise ConfigError(f"STOWAGE_CONTENT_URL: {problem}.")
    return open_bucket(config, metadata, meter=meter)


def open_bucket(config: Config, metadata: MetadataStore, *, timeout: int = 0, meter: StoreMeter = UNMETERED) -> S3Store:
    """The store in the bucket of this configuration, which no request has reached yet."""
    assert config.bucket is not None
    return S3Store(
        config.root,
        Bucket(config.bucket, timeout=timeout or config.content_timeout),
        MetadataObjects(metadata),
        owner=metadata.identity(),
        keep_seconds=config.keep_removed_days * _DAY,
        upload_bytes=config.upload_memory,
        spool_bytes=config.spool_bytes,
        meter=meter,
    )


def open_copy_target(config: Config) -> CopyTarget:
    """Where `stowage copy` sends blobs: the folder or the bucket of this configuration, of which nothing is known yet."""
    if config.bucket is None:
        return FolderTarget(config.content_root)
    _require_obstore("--to-content")
    return BucketTarget(Bucket(config.bucket, timeout=config.content_timeout))


def _require_obstore(setting: str) -> None:
    if find_spec("obstore") is None:
        raise ConfigError(f"{setting}: a bucket needs the package obstore: install stowage[s3].")


def _require_one_store(config: Config, metadata: MetadataStore, content: FilesystemStore) -> None:
    if not is_one_store(metadata, content):
        raise ConfigError(
            f"STOWAGE_DATABASE_URL, STOWAGE_CONTENT_URL: the database {config.database_name} and the content folder {config.content_root} "
            "belong to different stores, so the blobs in the folder would be removed as garbage. "
            "Set or restore the one that belongs to the other. To make these two one store, "
            f"write {metadata.store_id()} into {Layout(config.content_root).store_id}."
        )


def _require_own_bucket(metadata: MetadataStore, content: S3Store) -> None:
    """Raise Conflict unless the bucket is that of this very database, which claims its first one if both are empty."""
    own = (metadata.store_id(), metadata.identity())
    if problem := content.listing_problem():
        _log.warning("what no row names will be found neither by stowage gc nor by stowage verify: %s", problem)
    mark = content.mark()
    if mark is not None and is_unfinished(mark[0]):
        raise Conflict(_UNFINISHED)
    if mark is None:
        _claim(metadata, content, own[0])
        mark = content.mark()
    if mark == own:
        if not metadata.is_claimed():
            metadata.note_claim()
        return
    if mark is not None and mark[0] == own[0]:
        raise Conflict(
            f"the bucket belongs to the same store in another database ({mark[1]}, not {own[1]}): a copy would remove blobs that the other "
            "needs; if this database has replaced the other, run 'stowage adopt'"
        )
    raise Conflict(
        "the bucket belongs to another store, whose blobs would be removed as garbage; set the prefix or database that belong together"
    )


def _claim(metadata: MetadataStore, content: S3Store, own: str) -> None:
    """Mark the bucket as that of this database; raises Conflict unless both are empty and it is the first that the database claims.

    Two nodes may have two buckets under one address, such as that of an S3 server on each machine.
    """
    with metadata.read() as tx:
        is_empty = tx.images.count() == 0
    if not is_empty:
        problem = "the database is not empty"
    elif any(each.location for each in content.unnamed(0)):
        problem = "it is not empty"
    elif metadata.note_claim():
        try:
            content.claim(own)
        except BaseException:  # the next start tries again
            metadata.forget_claim()
            raise
        return
    elif _is_being_marked(content):
        return
    else:
        problem = "the database has claimed another bucket or folder"
    raise Conflict(
        f"the bucket has no mark that it belongs to this database, and {problem}; if the two belong together, run 'stowage adopt'"
    )


def _is_being_marked(content: S3Store) -> bool:
    """Whether another node, which starts now, marks this bucket within some seconds."""
    until = time.monotonic() + _START_SECONDS
    while content.mark() is None:
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
