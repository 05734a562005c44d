"""A store in a bucket whose blobs get their rows at once, so that it can keep the contract of a store that has no database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from stowage.services.content.bucket import Bucket, BucketAddress
from stowage.services.content.object_store import S3Store
from stowage.services.content.protocol import ContentStore
from stowage.services.metadata.objects import MetadataObjects
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest
from tests.engines import metadata_store

TIMEOUT = 12


def open_bucket(root: Path, url: str, metadata: MetadataStore, **options: Any) -> S3Store:
    """The store in a bucket as the tests use it."""
    defaults: dict[str, Any] = {"owner": "the tests", "keep_seconds": 0, "upload_bytes": 64 << 20, "spool_bytes": 1 << 40}
    bucket = Bucket(BucketAddress.parse(url), timeout=options.pop("timeout", TIMEOUT))
    return S3Store(root, bucket, MetadataObjects(metadata), **(defaults | options))


def lose_blob(content: ContentStore, digest: Digest) -> None:
    """Remove the file or the object of a blob, whose row stays."""
    if isinstance(content, S3Store):
        content._bucket.delete([content._location(digest)])
    else:
        content.delete([digest])


class _Ingest:
    def __init__(self, inner: Any, metadata: MetadataStore) -> None:
        self._inner, self._metadata = inner, metadata

    def commit(self, digest: Digest | None = None, size: int | None = None) -> Digest:
        digest = cast(Digest, self._inner.commit(digest, size))
        with self._metadata.write() as tx:
            tx.graph.add_blob(digest, self._inner.offset, 1, self._inner.location)
        return digest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class RecordedStore:
    """Calls the store, under a lease of its own, and adds and removes the rows of blobs."""

    def __init__(self, store: S3Store, metadata: MetadataStore) -> None:
        self._store, self._metadata = store, metadata
        with metadata.write() as tx:
            self.lease = tx.leases.create("tests", alive=600, expires=600)

    @contextmanager
    def ingest(self, key: str, *, waiting: Callable[[], None] = lambda: None) -> Iterator[_Ingest]:
        with self._store.ingest(key, lease=self.lease, waiting=waiting) as ingest:
            yield _Ingest(ingest, self._metadata)

    @contextmanager
    def publish(self, blobs: Mapping[Digest, bytes]) -> Iterator[Mapping[Digest, str]]:
        with self._store.publish(blobs, lease=self.lease) as locations:
            with self._metadata.write() as tx:
                tx.graph.add_blobs({digest: len(blobs[digest]) for digest in locations}, 1, locations)
            yield locations

    def delete(self, digests: Collection[Digest]) -> dict[Digest, int]:
        with self._metadata.write() as tx:
            tx.graph.remove(digests)
        return self._store.delete(digests)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def open_recorded(root: Path, url: str, database: str) -> ContentStore:
    metadata = metadata_store(database)
    return cast(ContentStore, RecordedStore(open_bucket(root, url, metadata), metadata))
