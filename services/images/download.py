"""Blobs from a repository into the store, a few at a time, with their progress.

Source: moby daemon/containerd/progress.go (pullProgress, showBlobProgress).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from services.engine import Engine
from services.errors import InvalidParameter, NotFound, RegistryFailure
from services.gc.leases import Lease
from services.images.ingest import fetch_blob
from services.oci import mediatypes
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.progress import Detail, Progress, ProgressStream
from services.registry.protocol import BlobStream, Repository

_INTERVAL = 0.1
"""Seconds between two lines about the same blob, or two ticks without any."""


def is_shown(blob: Descriptor) -> bool:
    """Whether progress is shown for it: not for documents, which are small."""
    media_type = blob.media_type
    return not (mediatypes.is_index(media_type) or mediatypes.is_manifest(media_type) or mediatypes.is_config(media_type))


def download_blobs(engine: Engine, lease: Lease, repository: Repository, blobs: Sequence[Descriptor]) -> ProgressStream:
    """Fetch and store these blobs, each verified; yields a line as one advances or is complete, and empty ticks in between.

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
        self._cancelled = False
        self._open: set[BlobStream] = set()
        self._received: dict[Digest, int] = {}

    def fetch(self, blob: Descriptor) -> None:
        """Store one blob, in a thread of the pool. A foreign layer that the registry does not have stays absent."""
        try:
            fetch_blob(
                self._engine,
                self._lease,
                lambda offset: _Counted(self, blob, self._repository.blob(blob, offset=offset)),
                digest=blob.digest,
                size=blob.size,
                waiting=self.check,
            )
        except NotFound:
            if not mediatypes.is_foreign_layer(blob.media_type):
                raise

    def follow(self, futures: dict[Future[None], Descriptor]) -> ProgressStream:
        """Yield what happens until every future is done; raises the first failure."""
        pending = set(futures)
        told: dict[Digest, int] = {}
        due = time.monotonic() + _INTERVAL
        while pending:
            done, pending = wait(pending, timeout=max(0.0, due - time.monotonic()), return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                if is_shown(blob := futures[future]):
                    yield Progress("Download complete", blob.digest.short, Detail(hide_counts=True))
            if time.monotonic() >= due:
                yield from self._advances([futures[future] for future in pending], told)
                due = time.monotonic() + _INTERVAL

    def cancel(self) -> None:
        """End every transfer, running or to come."""
        with self._lock:
            self._cancelled = True
            streams = list(self._open)
        for stream in streams:
            stream.close()

    def check(self) -> None:
        """Raise where the download has ended."""
        if self._cancelled:
            raise RegistryFailure("context canceled")

    def begin(self, stream: BlobStream) -> None:
        with self._lock:
            self._open.add(stream)
        if self._cancelled:
            stream.close()

    def end(self, stream: BlobStream) -> None:
        with self._lock:
            self._open.discard(stream)

    def advance(self, blob: Descriptor, received: int) -> None:
        self._received[blob.digest] = received

    def _advances(self, blobs: list[Descriptor], told: dict[Digest, int]) -> Iterator[Progress]:
        """A line for each shown blob that has more than was told, or else one tick."""
        received = dict(self._received)
        moved = [blob for blob in blobs if is_shown(blob) and received.get(blob.digest, 0) != told.get(blob.digest, 0)]
        for blob in moved:
            told[blob.digest] = received[blob.digest]
            yield Progress("Downloading", blob.digest.short, Detail(current=told[blob.digest], total=blob.size))
        if not moved:
            yield Progress()


class _Counted:
    """A blob's stream that tells its download how far it is and can be ended by it."""

    def __init__(self, downloads: _Downloads, blob: Descriptor, stream: BlobStream) -> None:
        self._downloads = downloads
        self._blob = blob
        self._stream = stream
        downloads.begin(stream)

    @property
    def offset(self) -> int:
        return self._stream.offset

    def __iter__(self) -> Iterator[bytes]:
        received = self.offset
        for chunk in self._stream:
            self._downloads.check()
            received += len(chunk)
            self._downloads.advance(self._blob, received)
            yield chunk

    def close(self) -> None:
        self._downloads.end(self._stream)
        self._stream.close()
