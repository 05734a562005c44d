"""Blobs from a repository into the store, a few at a time, with their progress.

A transfer that breaks goes on where it was, as long as it comes further: after a pause, with Range, or by passing over what is there.

Source: moby daemon/containerd/progress.go (pullProgress, showBlobProgress), daemon/internal/distribution/xfer/download.go (retries).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from services.engine import Engine
from services.errors import EngineError, InvalidParameter, NotFound, RegistryFailure
from services.gc.leases import Lease
from services.images.ingest import fetch_blob
from services.images.retry import TICK_SECONDS, Patience, in_background
from services.oci import mediatypes
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.progress import Detail, Progress, ProgressStream
from services.registry.protocol import BlobStream, Repository


def is_shown(blob: Descriptor) -> bool:
    """Whether progress is shown for it: not for documents, which are small."""
    media_type = blob.media_type
    return not (mediatypes.is_index(media_type) or mediatypes.is_manifest(media_type) or mediatypes.is_config(media_type))


def download_blobs(engine: Engine, lease: Lease, repository: Repository, blobs: Sequence[Descriptor]) -> ProgressStream:
    """Fetch and store these blobs, each verified; yields a line as one advances, waits or is complete, and empty ticks in between.

    The first failure, or closing the stream, ends every transfer before it is raised. What has come stays for the next try, unless the
    registry lies or lacks a blob, which another try would not change.
    """
    try:
        yield from _download(_Downloads(engine, lease, repository), blobs, engine.limits.concurrent_downloads)
    except (InvalidParameter, NotFound):
        for blob in blobs:
            engine.content.discard_partial(str(blob.digest))
        raise


def _download(downloads: _Downloads, blobs: Sequence[Descriptor], threads: int) -> ProgressStream:
    with ThreadPoolExecutor(threads, "pull") as pool:
        futures = {pool.submit(downloads.fetch, blob): blob for blob in blobs}
        try:
            yield from downloads.follow(futures)
        finally:
            downloads.cancel()
            pool.shutdown(wait=False, cancel_futures=True)


class _Downloads:
    """The transfers of one download: how far they are, and how to end them."""

    def __init__(self, engine: Engine, lease: Lease, repository: Repository) -> None:
        self._engine = engine
        self._lease = lease
        self._repository = repository
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._open: set[BlobStream] = set()
        self._received: dict[Digest, int] = {}
        self._due: dict[Digest, float] = {}

    def fetch(self, blob: Descriptor) -> None:
        """Store one blob, in a thread of the pool. A foreign layer that nobody has stays absent."""
        try:
            fetch_blob(
                self._engine,
                self._lease,
                lambda offset: _Transfer(self, blob, offset),
                digest=blob.digest,
                size=blob.size,
                waiting=lambda: self._watch(blob),
            )
        except NotFound:
            if not mediatypes.is_foreign_layer(blob.media_type):
                raise

    def follow(self, futures: dict[Future[None], Descriptor]) -> ProgressStream:
        """Yield what happens until every future is done; raises the first failure."""
        pending = set(futures)
        told: dict[Digest, Progress] = {}
        due = time.monotonic() + TICK_SECONDS
        while pending:
            done, pending = wait(pending, timeout=max(0.0, due - time.monotonic()), return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                if is_shown(blob := futures[future]):
                    yield Progress("Download complete", blob.digest.short, Detail(hide_counts=True))
            if time.monotonic() >= due:
                yield from self._advances([futures[future] for future in pending], told)
                due = time.monotonic() + TICK_SECONDS

    def cancel(self) -> None:
        """End every transfer, running or to come."""
        self._cancelled.set()
        with self._lock:
            streams = list(self._open)
        for stream in streams:
            stream.close()

    def patience(self) -> Patience:
        """How long one blob is tried."""
        limits = self._engine.limits
        return Patience(limits.download_attempts, limits.retry_seconds)

    def check(self) -> None:
        """Raise where the download has ended."""
        if self._cancelled.is_set():
            raise RegistryFailure("context canceled")

    def open(self, blob: Descriptor, offset: int, patience: Patience) -> BlobStream:
        """The blob's stream from an offset on, as soon as the registry gives one; raises what is not worth another try."""
        while True:
            future = in_background(lambda: self._repository.blob(blob, offset=offset))
            while not wait([future], timeout=TICK_SECONDS).done:
                if self._cancelled.is_set():
                    future.add_done_callback(_close_result)
                    self.check()
            try:
                return self._begin(future.result())
            except EngineError as exc:
                self.pause(blob, patience.pause_after(exc))

    def pause(self, blob: Descriptor, seconds: float) -> None:
        """Wait before the next try, and let that be seen; raises where the download has ended."""
        self.check()
        self._due[blob.digest] = time.monotonic() + seconds
        self._cancelled.wait(seconds)
        del self._due[blob.digest]
        self.check()

    def end(self, stream: BlobStream) -> None:
        """Finish with a stream."""
        with self._lock:
            self._open.discard(stream)
        stream.close()

    def advance(self, blob: Descriptor, received: int) -> None:
        """Note how many bytes of the blob are there."""
        self._received[blob.digest] = received

    def _begin(self, stream: BlobStream) -> BlobStream:
        with self._lock:
            self._open.add(stream)
        if self._cancelled.is_set():
            stream.close()
        return stream

    def _watch(self, blob: Descriptor) -> None:
        """While another pull has the blob in hand: show how far that is."""
        self.check()
        self.advance(blob, self._engine.content.partial_size(str(blob.digest)))

    def _advances(self, blobs: list[Descriptor], told: dict[Digest, Progress]) -> Iterator[Progress]:
        """A line for each shown blob of which there is news, or else one tick."""
        news = [(blob, line) for blob in blobs if is_shown(blob) and (line := self._state(blob)) and line != told.get(blob.digest)]
        for blob, line in news:
            told[blob.digest] = line
            yield line
        if not news:
            yield Progress()

    def _state(self, blob: Descriptor) -> Progress | None:
        """What there is to say of a blob that is on its way; None before its first byte."""
        due, received = self._due.get(blob.digest), self._received.get(blob.digest, 0)
        if due is not None and (seconds := math.ceil(due - time.monotonic())) > 0:
            return Progress(f"Retrying in {seconds} second{'s' * (seconds != 1)}", blob.digest.short, Detail())
        return Progress("Downloading", blob.digest.short, Detail(current=received, total=blob.size)) if received else None


class _Transfer:
    """A blob from an offset on, from as many streams as it takes; `offset` is where the first of them really begins."""

    def __init__(self, downloads: _Downloads, blob: Descriptor, offset: int) -> None:
        self._downloads = downloads
        self._blob = blob
        self._patience = downloads.patience()
        self._stream = downloads.open(blob, offset, self._patience)
        self.offset = self._stream.offset

    def __iter__(self) -> Iterator[bytes]:
        received = self.offset
        while True:
            try:
                for chunk in _from(self._stream, received):
                    self._downloads.check()
                    received += len(chunk)
                    self._patience.progressed()
                    self._downloads.advance(self._blob, received)
                    yield chunk
                return
            except EngineError as exc:
                self._downloads.end(self._stream)
                self._downloads.pause(self._blob, self._patience.pause_after(exc))
            self._stream = self._downloads.open(self._blob, received, self._patience)

    def close(self) -> None:
        self._downloads.end(self._stream)


def _from(stream: BlobStream, offset: int) -> Iterator[bytes]:
    """The stream's bytes from an offset of the blob on, whatever comes before it."""
    behind = offset - stream.offset
    for chunk in stream:
        rest = chunk[behind:] if behind else chunk
        behind = max(0, behind - len(chunk))
        if rest:
            yield rest


def _close_result(future: Future[BlobStream]) -> None:
    if future.exception() is None:
        future.result().close()
