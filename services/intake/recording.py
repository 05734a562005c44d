"""The rows of blobs whose bytes are committed.

A pull records what is complete within a moment in one transaction: each takes the lock of all writers, and waits for the disk. Its
transfers go on meanwhile. Until the row of a blob is committed the blob is settled and its ingest held, so whoever waits for it finds it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.errors import EngineError
from stowage.services.metadata.records import LayerFacts
from stowage.services.oci.digest import Digest

_MOMENT_SECONDS = 0.5
"""How long a blob waits for others that are complete soon; whoever else wants it waits as long."""
_MOST_BYTES = 8 << 20
_MOST_BLOBS = 64
"""More are recorded at once: in a bucket, a killed process has to fetch again what it has not recorded, and each blob takes three file
descriptors.
"""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob whose bytes are stored. `layer` is None if they are neither a tar nor a whole compressed stream."""

    digest: Digest
    size: int
    layer: LayerFacts | None


def record_blobs(engine: Engine, blobs: Iterable[StoredBlob], locations: Mapping[Digest, str]) -> None:
    """Record these blobs with their facts, in one transaction; those in a bucket have locations."""
    blobs = list(blobs)
    located = {digest: location for digest, location in locations.items() if location}
    with engine.metadata.write() as tx:
        tx.graph.add_blobs({blob.digest: blob.size for blob in blobs}, engine.clock(), located)
        tx.graph.add_layers({blob.digest: blob.layer for blob in blobs if blob.layer})


@contextmanager
def recording(engine: Engine) -> Iterator[Recorder]:
    """A recorder, which has recorded everything when the context ends; then raises what failed, unless something else was raised."""
    recorder = Recorder(engine)
    try:
        yield recorder
    except BaseException:
        with suppress(EngineError):
            recorder.close()
        raise
    recorder.close()


class Recorder:
    """Records blobs soon after they are added, in a thread of its own; any thread may add some."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._waiting: list[tuple[Collection[StoredBlob], Mapping[Digest, str], ExitStack]] = []
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._failure: Exception | None = None

    def add(self, blobs: Collection[StoredBlob], locations: Mapping[Digest, str], held: ExitStack) -> None:
        """Record these blobs, and then close what holds and settles them. Once this recorder is closed, that is done before it returns."""
        with self._changed:
            self._waiting.append((blobs, locations, held))
            is_closed = self._is_closed
            if self._thread is None and not is_closed:
                self._thread = threading.Thread(target=self._run, name="record", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        if is_closed:
            self._record()
            self.check()

    def check(self) -> None:
        """Raise what a transaction has raised: a lease that has ended, or a database that is unreachable."""
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """Record the rest; raises as `check` does."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread:
            self._thread.join()
        self.check()

    def _run(self) -> None:
        is_closed = False
        while not is_closed:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                self._changed.wait_for(lambda: self._is_closed or self._is_full(), _MOMENT_SECONDS)
                is_closed = self._is_closed
            self._record()

    def _is_full(self) -> bool:
        blobs = [blob for added, *_ in self._waiting for blob in added]
        return len(blobs) >= _MOST_BLOBS or sum(blob.size for blob in blobs) >= _MOST_BYTES

    def _record(self) -> None:
        with self._changed:
            group, self._waiting = self._waiting, []
        if not group:
            return
        with ExitStack() as held:
            for _, _, each in group:
                held.push(each)
            try:
                blobs = [blob for added, *_ in group for blob in added]
                locations = {digest: location for _, each, _ in group for digest, location in each.items()}
                record_blobs(self._engine, blobs, locations)
            except Exception as exc:  # noqa: BLE001 - raised by `check` and `close`, in the threads of the operation
                self._failure = exc
