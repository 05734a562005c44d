"""Stores small blobs in batches, so that an archive of thousands does not need a few transactions for each.

The order is the same as for one blob: lease, files, rows. Until a batch is stored, its blobs are only in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing

from stowage.services.archive.layer import LayerDigester
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.gc.leases import Lease
from stowage.services.intake.ingest import store_blob
from stowage.services.intake.recording import Recorder, StoredBlob
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
        missing = waiting.keys() - self._lease.add(waiting) if waiting else ()
        store_together(self._engine, self._lease, [waiting[digest][0] for digest in missing], {each: waiting[each][1] for each in missing})

    def _examine(self, content: bytes, digest: Digest | None) -> StoredBlob:
        algorithm = digest.algorithm if digest else "sha256"
        actual = Digest.of(content, algorithm)
        if digest not in (None, actual):
            raise InvalidContent(f"unexpected commit digest {actual}, expected {digest}")
        with closing(LayerDigester(self._engine.bounds, algorithm=algorithm)) as layer:
            layer.feed(content)
            found = layer.finish(actual)
        return StoredBlob(actual, len(content), LayerFacts(*found) if found else None)


def store_together(engine: Engine, lease: Lease, blobs: Collection[StoredBlob], contents: Mapping[Digest, bytes]) -> None:
    """Store these blobs, which the lease holds: those that no other writer is writing at once, the others one by one."""
    if not blobs:
        return
    locations = {digest: location for digest in contents if (location := lease.take_location(digest))}
    with engine.content.publish(contents, lease=lease.id, locations=locations) as published:
        Recorder(engine).record([blob for blob in blobs if blob.digest in published], published)
    for digest in contents.keys() - published.keys():
        store_blob(engine, lease, [contents[digest]], digest=digest)
