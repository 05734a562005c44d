"""The documents and blobs of a pull: from a repository into the store, blobs a few at a time, with their progress.

A broken transfer continues where it stopped, as long as it makes progress: after a pause, with Range or by skipping what it already has.

Source: moby daemon/containerd/progress.go (pullProgress, showBlobProgress), daemon/internal/distribution/xfer/download.go (retries).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from threading import BoundedSemaphore

from stowage.services.engine import Engine
from stowage.services.errors import EngineError, InvalidContent, InvalidParameter, NotFound, RegistryFailure
from stowage.services.gc.leases import Lease
from stowage.services.intake.ingest import BlobWriter, writing
from stowage.services.intake.recording import Recorder, StoredBlob
from stowage.services.intake.small_blobs import store_together
from stowage.services.metadata.store import Transaction
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.progress import Detail, Progress, ProgressStream
from stowage.services.registry.repository import BlobStream, Repository
from stowage.services.store.reading import read_document
from stowage.services.transfer.parallel import BlobTransfers
from stowage.services.transfer.retry import TICK_SECONDS, Patience, in_background

_AT_ONCE = 16
"""How many blobs of a pull are received or stored at once; those that are received are fewer. The others wait for the disk together."""


class FetchedDocuments:
    """The manifests of a pull by digest, from the store or the registry, and once these are stored, its configs.

    They are kept in memory; how much of them one pull may keep is up to the caller.
    """

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

    def store(self, lease: Lease, present: AbstractSet[Digest]) -> None:
        """Store those that are not present, under a lease that holds them."""
        missing = {digest: raw for digest, raw in self.content.items() if digest not in present}
        store_together(self._engine, lease, [StoredBlob(digest, len(raw), None) for digest, raw in missing.items()], missing)


def download_blobs(engine: Engine, lease: Lease, repository: Repository, blobs: Sequence[Descriptor]) -> ProgressStream:
    """Fetch, verify and store these blobs; yields a line when one advances, waits or is complete, and empty ticks in between.

    The first failure, or closing the stream, ends every transfer before it is raised. What has been received is kept for the next try,
    unless the registry lies or does not have a blob, which another try would not change. The lease holds the blobs.
    """
    engine.tally.parts.expect({blob.digest: blob.size for blob in blobs})
    downloads = _Downloads(engine, lease, repository)
    try:
        with ThreadPoolExecutor(_AT_ONCE, "pull") as pool:
            # A large blob that began last would run alone at the end, on one core.
            largest_first = sorted(blobs, key=lambda blob: blob.size, reverse=True)
            futures = {pool.submit(downloads.download, blob): blob for blob in largest_first}
            try:
                yield from downloads.follow(futures)
            finally:
                downloads.cancel()
                pool.shutdown(wait=False, cancel_futures=True)
    except (InvalidParameter, NotFound):
        for blob in blobs:
            engine.content.discard_partial(str(blob.digest))
        raise


class _Downloads(BlobTransfers):
    """The transfers of one download."""

    def __init__(self, engine: Engine, lease: Lease, repository: Repository) -> None:
        super().__init__(engine, "Downloading")
        self._engine = engine
        self._lease = lease
        self._repository = repository
        self._recorder = Recorder(engine)
        self._receiving = BoundedSemaphore(engine.limits.concurrent_downloads)

    def download(self, blob: Descriptor) -> Progress:
        """Store one blob, in a thread of the pool; returns its last line. A foreign layer that is found nowhere stays absent."""
        try:
            self._store(blob)
        except NotFound:
            if not mediatypes.is_foreign_layer(blob.media_type):
                raise
            self._parts.drop(blob.digest)
        return Progress("Download complete", blob.digest.short, Detail(hide_counts=True))

    def _store(self, blob: Descriptor) -> None:
        """Fetch, verify and store one blob. If a host sends wrong bytes, it is fetched again from the next host.

        If an earlier transfer began the blob, those bytes may be the wrong ones. It is then fetched once from its beginning first.
        """
        anew = False
        while not self._try_store(blob, anew=anew):
            anew = True

    def _try_store(self, blob: Descriptor, *, anew: bool) -> bool:
        """Whether the blob is stored; if the bytes were wrong, another try may get others."""
        is_whole = False
        with ExitStack() as receiving:
            receiving.enter_context(self._receiving)
            self.check()
            with writing(self._engine, self._lease, blob.digest, blob.size, waiting=lambda: self._watch(blob), is_leased=True) as writer:
                if writer is None:
                    return True
                try:
                    is_whole = self._receive(blob, writer, anew=anew)
                    receiving.close()
                    writer.commit(self._recorder)
                except InvalidContent:
                    if (is_whole or anew) and not self._repository.distrust(blob):
                        raise
                    return False
        return True

    def _receive(self, blob: Descriptor, writer: BlobWriter, *, anew: bool) -> bool:
        """Fetch what is missing of the blob; returns whether that is all of it."""
        with writer.kept_if_broken():
            if not anew:
                writer.resume()
            if writer.offset == blob.size:
                return False
            with closing(_Transfer(self, blob, writer.offset)) as transfer:
                transfer.fill(writer)
                return transfer.offset == 0

    def open(self, blob: Descriptor, offset: int, patience: Patience) -> BlobStream:
        """The blob's stream from an offset on, as soon as the registry gives one; raises failures that are not worth another try."""
        while True:
            began = time.monotonic()
            future = in_background(lambda: self._repository.blob(blob, offset=offset), self._operation)
            while not wait([future], timeout=TICK_SECONDS).done:
                if self._cancelled.is_set():
                    future.add_done_callback(_close_result)
                    self.check()
            patience.took(time.monotonic() - began)
            try:
                stream = future.result()
            except EngineError as exc:
                self.pause(blob, patience.pause_after(exc))
            else:
                self._tally.add(resumes=stream.offset > 0)
                return stream

    def begin(self, offset: int) -> None:
        """Note that a blob's transfer begins behind bytes that an earlier one has left."""
        self._parts.skip(offset)

    def count(self, received: int) -> None:
        """Count bytes that a registry has sent."""
        self._tally.add(moved=received)

    def give_up(self, blob: Descriptor) -> None:
        """Raise RegistryFailure for a stream that is too slow; another try, of another host if there is one, may be faster."""
        self._repository.suspect(blob)
        limits = self._engine.limits
        failure = RegistryFailure(
            f"failed to copy: fewer than {limits.least_rate} bytes a second arrived for {limits.stall_seconds:g} seconds"
        )
        failure.retry_after = 0
        raise failure

    def _watch(self, blob: Descriptor) -> None:
        """Show the progress of another pull while that is fetching the blob."""
        self.check()
        if received := self._engine.content.partial_size(str(blob.digest)):
            self.advance(blob, received)


class _Transfer:
    """A blob from an offset on, from as many streams as needed; `offset` is where the first of them actually begins."""

    def __init__(self, downloads: _Downloads, blob: Descriptor, offset: int) -> None:
        self._downloads = downloads
        self._blob = blob
        self._patience = downloads.patience()
        self._stream = downloads.open(blob, offset, self._patience)
        self.offset = self._stream.offset
        downloads.begin(self.offset)

    def fill(self, writer: BlobWriter) -> None:
        """Write all of it; what the blob has already is thrown away if this begins elsewhere."""
        if self.offset != writer.offset:
            writer.restart()
        for _ in writer.pour(self):
            pass

    def __iter__(self) -> Iterator[bytes]:
        received = self.offset
        while True:
            try:
                for chunk in self._behind(received):
                    self._downloads.check()
                    received += len(chunk)
                    self._downloads.count(len(chunk))
                    self._patience.progressed()
                    self._downloads.advance(self._blob, received)
                    yield chunk
                return
            except EngineError as exc:
                self._stream.close()
                self._downloads.pause(self._blob, self._patience.pause_after(exc))
            self._stream = self._downloads.open(self._blob, received, self._patience)

    def close(self) -> None:
        self._stream.close()

    def _behind(self, offset: int) -> Iterator[bytes]:
        """The stream's bytes from an offset of the blob on; bytes before it are skipped."""
        behind = offset - self._stream.offset
        for chunk in self._in_time():
            rest = chunk[behind:] if behind else chunk
            behind = max(0, behind - len(chunk))
            if rest:
                yield rest

    def _in_time(self) -> Iterator[bytes]:
        """The stream's chunks; raises RegistryFailure if they arrive too slowly. The last chunk is exempt, since nothing follows it."""
        chunks, position = iter(self._stream), self._stream.offset
        while True:
            began = time.monotonic()  # only the wait counts: the consumer of the bytes may be slow as well
            chunk = next(chunks, b"")
            is_slow = self._patience.is_too_slow(len(chunk), time.monotonic() - began)
            if not chunk:
                return
            position += len(chunk)
            yield chunk
            if is_slow and position < self._blob.size:
                self._downloads.give_up(self._blob)


def _close_result(future: Future[BlobStream]) -> None:
    if future.exception() is None:
        future.result().close()
