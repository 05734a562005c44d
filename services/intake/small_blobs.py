"""Small blobs in batches: an archive of thousands of them then costs their files, not a few transactions for each.

The order is the same as for one blob: lease, files, rows. Until a batch is stored, its blobs are only in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from stowage.services.archive.layer import LayerDigester
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.gc.leases import Lease
from stowage.services.intake.ingest import store_blob
from stowage.services.intake.recording import StoredBlob, record_blobs
from stowage.services.metadata.records import LayerFacts
from stowage.services.oci.digest import Digest

SMALL_BYTES = 64 << 10
"""Blobs up to this size are batched; for a larger one the bytes themselves cost more."""

_BATCH = 64
"""How many blobs a batch holds; each takes three file descriptors while the batch is stored."""
_BATCH_BYTES = 1 << 20
"""How many bytes wait for a batch: a load whose client stops sending keeps them in memory."""


class SmallBlobs:
    """Stores blobs under a lease, in batches; used by one thread."""

    def __init__(self, engine: Engine, lease: Lease) -> None:
        self._engine = engine
        self._lease = lease
        self._waiting: dict[Digest, tuple[StoredBlob, bytes]] = {}
        self._bytes = 0

    def add(self, content: bytes, *, digest: Digest | None = None) -> StoredBlob:
        """Take a blob, and store the waiting ones if there are enough; `flush` stores it at the latest.

        Raises as `store_blob` does: if this blob has another digest or is a bomb, it alone is refused.
        """
        blob = self._examine(content, digest)
        self._bytes += 0 if blob.digest in self._waiting else blob.size
        self._waiting[blob.digest] = blob, content
        if len(self._waiting) >= _BATCH or self._bytes >= _BATCH_BYTES:
            self.flush()
        return blob

    def flush(self) -> None:
        """Store the waiting blobs."""
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        if not waiting:
            return
        missing = waiting.keys() - self._lease.add(waiting)
        if not missing:
            return
        stored = self._store({digest: content for digest, (_, content) in waiting.items() if digest in missing}, waiting)
        for digest in missing - stored:  # another writer is writing it
            store_blob(self._engine, self._lease, [waiting[digest][1]], digest=digest)

    def _store(self, contents: Mapping[Digest, bytes], waiting: Mapping[Digest, tuple[StoredBlob, bytes]]) -> set[Digest]:
        """Publish and record the blobs that no other writer is writing; returns which."""
        with self._engine.content.publish(contents, lease=self._lease.id) as published:
            record_blobs(self._engine, [waiting[digest][0] for digest in contents if digest in published], published)
        return set(published)

    def _examine(self, content: bytes, digest: Digest | None) -> StoredBlob:
        algorithm = digest.algorithm if digest else "sha256"
        actual = Digest.of(content, algorithm)
        if digest not in (None, actual):
            raise InvalidContent(f"unexpected commit digest {actual}, expected {digest}")
        with closing(LayerDigester(self._engine.bounds, algorithm=algorithm)) as layer:
            layer.feed(content)
            found = layer.finish(actual)
        return StoredBlob(actual, len(content), LayerFacts(*found) if found else None)
