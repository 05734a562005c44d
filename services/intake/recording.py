"""The rows of blobs whose bytes are committed, and small blobs that are published and recorded together.

The ingest of a blob is held until its row is committed, so a writer that waits for it finds the row.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.metadata.records import LayerFacts
from stowage.services.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob whose bytes are stored. `layer` is None if they are neither a tar nor a whole compressed stream."""

    digest: Digest
    size: int
    layer: LayerFacts | None


class Recorder:
    """Records the blobs of one operation with their facts; usable from several threads.

    Each transaction takes the lock of all writers and waits for the disk. So one thread at a time writes one, and records what the others
    have added while it waited.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._adding, self._writing = threading.Lock(), threading.Lock()
        self._waiting: list[tuple[Collection[StoredBlob], Mapping[Digest, str], Future[None]]] = []

    def record(self, blobs: Collection[StoredBlob], locations: Mapping[Digest, str]) -> None:
        """Record these blobs; those in a bucket have locations. Raises what the transaction raises, as for a lease that has ended."""
        recorded: Future[None] = Future()
        with self._adding:
            self._waiting.append((blobs, locations, recorded))
        with self._writing:
            self._record_waiting()
        recorded.result()

    def _record_waiting(self) -> None:
        with self._adding:
            group, self._waiting = self._waiting, []
        if not group:
            return
        try:
            locations = {digest: location for _, each, _ in group for digest, location in each.items()}
            self._write([blob for blobs, _, _ in group for blob in blobs], locations)
        except BaseException as exc:  # noqa: BLE001 - every thread raises it
            for _, _, recorded in group:
                recorded.set_exception(exc)
        else:
            for _, _, recorded in group:
                recorded.set_result(None)

    def _write(self, blobs: Collection[StoredBlob], locations: Mapping[Digest, str]) -> None:
        located = {digest: location for digest, location in locations.items() if location}
        with self._engine.metadata.write() as tx:
            tx.graph.add_blobs({blob.digest: blob.size for blob in blobs}, self._engine.clock(), located)
            tx.graph.add_layers({blob.digest: blob.layer for blob in blobs if blob.layer})
