"""Blobs and manifests from the store to a repository, a few at a time, with their progress.

A broken transfer is tried again after a pause, as long as it makes progress, not too slowly. A blob continues from what the registry has.

Source: moby daemon/containerd/progress.go (pushProgress), daemon/internal/distribution/xfer/upload.go (retries); containerd
core/remotes/handlers.go (PushContent).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore
from typing import TypeVar

from stowage.services.engine import Engine
from stowage.services.errors import EngineError
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.progress import Detail, Progress, ProgressStream
from stowage.services.registry.upload import Destination, Upload
from stowage.services.store.reading import open_verified, read_document
from stowage.services.transfer.parallel import BlobTransfers, is_shown
from stowage.services.transfer.retry import patiently

_T = TypeVar("_T")

_AT_ONCE = 16
"""How many requests of a push run at once; those that send a blob are fewer."""


class Uploads(BlobTransfers):
    """The transfers of one push."""

    def __init__(self, engine: Engine, destination: Destination) -> None:
        super().__init__(engine, "Pushing", waiting="Waiting")
        self._engine = engine
        self._destination = destination
        self._sending = BoundedSemaphore(engine.limits.concurrent_uploads)
        self.has_sent = False
        """Whether the registry lacked anything that was pushed."""

    def push_blobs(self, blobs: Sequence[Descriptor], sources: Mapping[Digest, str]) -> ProgressStream:
        """Ask for these blobs, all at once. Upload those that the registry lacks, or mount them from another of its repositories, if
        `sources` names one.

        Yields lines about the shown blobs and empty ticks in between. The first failure, or closing the stream, ends every transfer
        before it is raised.
        """
        self._parts.expect({blob.digest: blob.size for blob in blobs})
        yield from (_line("Preparing", blob) for blob in blobs if is_shown(blob))
        yield from self._run(blobs, lambda blob: self._push_blob(blob, sources.get(blob.digest, "")))

    def push_manifests(self, manifests: Sequence[Descriptor], tag: str | None = None) -> ProgressStream:
        """Publish these manifests, in any order, under the tag or else their digests; yields ticks."""
        yield from self._run(manifests, lambda manifest: self._push_manifest(manifest, tag))

    def reach(self, target: Descriptor, tag: str | None) -> Generator[Progress, None, bool]:
        """Ask for the target first, so that the endpoint and its token are found once for all later requests; yields ticks.

        Returns whether it is there, which does not say that the registry still has its blobs.
        """
        return (yield from patiently(lambda: self._destination.has_manifest(target, tag=tag), self._engine.limits))

    def _push_manifest(self, manifest: Descriptor, tag: str | None) -> Progress:
        def attempt() -> Progress:
            if not self._destination.has_manifest(manifest, tag=tag):
                self.has_sent = True
                self._destination.put_manifest(manifest, read_document(self._engine, manifest.digest), tag=tag)
            return _line("Pushed", manifest)

        return self._try_again(manifest, attempt, lambda: 0)

    def _push_blob(self, blob: Descriptor, source: str) -> Progress:
        if self._try_again(blob, lambda: self._destination.has_blob(blob), lambda: 0):
            self._parts.drop(blob.digest)
            return _line("Layer already exists" if mediatypes.is_layer(blob.media_type) else "Already exists", blob)
        self.has_sent = True
        opened = partial(open_verified, self._engine, blob.digest, blob.size)
        upload = self._destination.upload(blob, opened, mount_from=source, advance=lambda offset: self._advance(blob, offset))
        with self._sending:
            return self._try_again(blob, lambda: self._bring(blob, upload, source), lambda: upload.offset)

    def _bring(self, blob: Descriptor, upload: Upload, source: str) -> Progress:
        """Upload or mount a blob, unless it was sent before and only the answer was lost."""
        if blob.digest in self._passed and self._destination.has_blob(blob):
            return _line("Pushed", blob)
        mounted = upload.proceed()
        if mounted:
            self._parts.drop(blob.digest)
        return _line(f"Mounted from {source}" if mounted and source else "Pushed", blob)

    def _try_again(self, descriptor: Descriptor, attempt: Callable[[], _T], reached: Callable[[], int]) -> _T:
        """The result of an attempt. It is repeated until several in a row fail without a higher offset from `reached`, or too slowly."""
        patience, furthest = self.patience(), 0
        while True:
            self.check()
            began = time.monotonic()
            try:
                return attempt()
            except EngineError as exc:
                offset = max(furthest, reached())
                patience.took(time.monotonic() - began, offset - furthest)
                if offset > furthest:
                    furthest = offset
                    patience.progressed()
                self.pause(descriptor, patience.pause_after(exc))

    def _run(self, descriptors: Sequence[Descriptor], push: Callable[[Descriptor], Progress]) -> ProgressStream:
        pool = ThreadPoolExecutor(_AT_ONCE, "push")
        futures = {pool.submit(self._operation.run, partial(push, descriptor)): descriptor for descriptor in descriptors}
        try:
            yield from self.follow(futures)
        except BaseException:
            self.cancel()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # do not wait for a thread that is waiting for an answer

    def _advance(self, blob: Descriptor, sent: int) -> None:
        self.check()
        self._tally.add(moved=max(0, sent - self._passed.get(blob.digest, 0)))
        self.advance(blob, sent)


def _line(status: str, blob: Descriptor) -> Progress:
    return Progress(status, blob.digest.short, Detail())
