"""The documents of a pull, kept in memory: its manifests, from the store or the registry, and once these are stored, its configs."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import ExitStack

from stowage.services.engine import Engine
from stowage.services.errors import EngineError, InvalidContent
from stowage.services.gc.leases import Lease
from stowage.services.intake.ingest import store_blob
from stowage.services.intake.recording import Recorder, StoredBlob
from stowage.services.metadata.store import Transaction
from stowage.services.oci.digest import Digest
from stowage.services.store.reading import read_document


class FetchedDocuments:
    """The documents by digest; how much of them one pull may keep is up to the caller."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.recorded: set[Digest] = set()
        """Which of those that were looked for have a row."""
        self.content: dict[Digest, bytes] = {}
        """The bytes of each document that was found, read or kept."""

    def look(self, tx: Transaction, digests: Iterable[Digest]) -> None:
        """See which of these the store has."""
        self.recorded |= tx.graph.present(digests)

    def find(self, digest: Digest) -> bytes | None:
        """A document that the store was seen to have; None if it is absent or cannot be read, and then it is to be fetched.

        Raises InvalidContent for what is too large to be one.
        """
        if digest in self.recorded and digest not in self.content:
            try:
                self.read(self._engine, digest)
            except InvalidContent:
                raise
            except EngineError:
                return None
        return self.content.get(digest)

    def read(self, engine: Engine, digest: Digest) -> bytes:
        """A document, from the store if it was neither found nor kept before; raises as `read_document` does."""
        if digest not in self.content:
            self.keep(digest, read_document(engine, digest))
        return self.content[digest]

    def keep(self, digest: Digest, raw: bytes) -> None:
        """Take a document that was fetched and verified."""
        self.content[digest] = raw

    def store(self, lease: Lease, recorder: Recorder, present: AbstractSet[Digest]) -> None:
        """Store those that are not present, under a lease that holds them."""
        missing = {digest: raw for digest, raw in self.content.items() if digest not in present}
        locations = {digest: location for digest in missing if (location := lease.take_location(digest))}
        with ExitStack() as held:
            published = held.enter_context(self._engine.content.publish(missing, lease=lease.id, locations=locations))
            recorder.add([StoredBlob(digest, len(missing[digest]), None) for digest in published], published, held.pop_all())
        for digest in missing.keys() - published.keys():  # another writer is writing it
            store_blob(self._engine, lease, [missing[digest]], digest=digest)
