"""Blobs from a repository into the store, a few at a time, with their progress.

A broken transfer continues where it stopped, as long as it makes progress: after a pause, with Range or by skipping what it already has.

Source: moby daemon/containerd/progress.go (pullProgress, showBlobProgress), daemon/internal/distribution/xfer/download.go (retries).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from stowage.services.engine import Engine
from stowage.services.errors import EngineError, InvalidContent, InvalidParameter, NotFound, RegistryFailure
from stowage.services.gc.leases import Lease
from stowage.services.intake.ingest import fetch_blob
from stowage.services.intake.recording import Recorder
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.progress import Detail, Progress, ProgressStream
from stowage.services.registry.repository import BlobStream, Repository
from stowage.services.transfer.parallel import Transfers
from stowage.services.transfer.retry import TICK_SECONDS, Patience, in_background


def download_blobs(engine: Engine, lease: Lease, recorder: Recorder, repository: Repository, blobs: Sequence[Descriptor]) -> ProgressStream:
    """Fetch, verify and store these blobs; yields a line when one advances, waits or is complete, and empty ticks in between.

    The first failure, or closing the stream, ends every transfer before it is raised. What has been received is kept for the next try,
    unless the registry lies or does not have a blob, which another try would not change. The lease holds the blobs; the recorder records
    them.
    """
    engine.tally.parts.expect({blob.digest: blob.size for blob in blobs})
    try:
        yield from _download(_Downloads(engine, lease, recorder, repository), blobs, engine.limits.concurrent_downloads)
    except (InvalidParameter, NotFound):
        for blob in blobs:
            engine.content.discard_partial(str(blob.digest))
        raise


def _download(downloads: _Downloads, blobs: Sequence[Descriptor], threads: int) -> ProgressStream:
    with ThreadPoolExecutor(threads, "pull") as pool:
        # A large blob that began last would run alone at the end, on one core.
        largest_first = sorted(blobs, key=lambda blob: blob.size, reverse=True)
        futures = {pool.submit(downloads.download, blob): blob for blob in largest_first}
        try:
            yield from downloads.follow(futures)
        finally:
            downloads.cancel()
            pool.shutdown(wait=False, cancel_futures=True)


class _Downloads(Transfers):
    """The transfers of one download."""

    def __init__(self, engine: Engine, lease: Lease, recorder: Recorder, repository: Repository) -> None:
        super().__init__(engine, "Downloading")
        self._engine = engine
        self._lease = lease
        self._recorder = recorder
        self._repository = repository

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
        whole = again = False

        def open_at(offset: int) -> _Transfer:
            nonlocal whole
            transfer = _Transfer(self, blob, offset)
            whole = transfer.offset == 0
            return transfer

        while True:
            try:
                fetch_blob(
                    self._engine,
                    self._lease,
                    open_at,
                    digest=blob.digest,
                    size=blob.size,
                    anew=again,
                    waiting=lambda: self._watch(blob),
                    recorder=self._recorder,
                )
                return
            except InvalidContent:
                if (whole or again) and not self._repository.distrust(blob):
                    raise
                again = True

    def check(self) -> None:
        """Raise what the recorder has raised, too: then no further blob would get a row."""
        super().check()
        self._recorder.check()

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
