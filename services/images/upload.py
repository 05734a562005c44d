"""Blobs and manifests from the store to a repository, a few at a time, with their progress.

Source: moby daemon/containerd/progress.go (pushProgress); containerd core/remotes/handlers.go (PushContent).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from services.engine import Engine
from services.errors import RegistryFailure
from services.images.download import is_shown
from services.oci import mediatypes
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.progress import Detail, Progress, ProgressStream
from services.registry.protocol import Destination

_INTERVAL = 0.1
"""Seconds between two lines about the same blob, or two ticks without any."""


class Uploads:
    """The transfers of one push: how far they are, and how to end them."""

    def __init__(self, engine: Engine, destination: Destination) -> None:
        self._engine = engine
        self._destination = destination
        self._sent: dict[Digest, int] = {}
        self._outcomes: dict[Digest, str] = {}
        self._cancelled = threading.Event()

    def push_blobs(self, blobs: Sequence[Descriptor], sources: Mapping[Digest, str]) -> ProgressStream:
        """Bring these blobs there, each from another repository of the registry where `sources` names one that has it.

        Yields lines about the blobs that are shown and empty ticks in between. The first failure, or closing the stream, ends every
        transfer before it is raised.
        """
        yield from (_line("Preparing", blob) for blob in blobs if is_shown(blob))
        yield from self._run(blobs, lambda blob: self._push_blob(blob, sources.get(blob.digest, "")))

    def push_manifests(self, manifests: Sequence[Descriptor], tag: str | None = None) -> ProgressStream:
        """Publish these, in any order, under the tag or else their digests; yields ticks."""
        yield from self._run(manifests, lambda manifest: self._push_manifest(manifest, tag))

    def reach(self, target: Descriptor, tag: str | None) -> ProgressStream:
        """Ask for the target, so that the way to the registry and its token are found once for all that follows; yields ticks."""
        yield from self._run([target], lambda manifest: self._destination.has_manifest(manifest, tag=tag))

    def _push_manifest(self, manifest: Descriptor, tag: str | None) -> None:
        self._check()
        if not self._destination.has_manifest(manifest, tag=tag):
            self._destination.put_manifest(manifest, self._engine.content.read(manifest.digest), tag=tag)

    def _push_blob(self, blob: Descriptor, source: str) -> None:
        self._check()
        if self._destination.has_blob(blob):
            self._outcomes[blob.digest] = "Layer already exists" if mediatypes.is_layer(blob.media_type) else "Already exists"
            return
        content = self._engine.content
        mounted = self._destination.upload(
            blob, lambda: content.open(blob.digest), mount_from=source, advance=lambda offset: self._advance(blob, offset)
        )
        self._outcomes[blob.digest] = f"Mounted from {source}" if mounted and source else "Pushed"

    def _run(self, descriptors: Sequence[Descriptor], push: Callable[[Descriptor], object]) -> ProgressStream:
        pool = ThreadPoolExecutor(self._engine.limits.concurrent_uploads, "push")
        futures = {pool.submit(push, descriptor): descriptor for descriptor in descriptors}
        try:
            yield from self._follow(futures)
        except BaseException:
            self._cancelled.set()
            self._destination.close()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a thread that waits for an answer holds nobody up

    def _follow(self, futures: dict[Future[object], Descriptor]) -> ProgressStream:
        """Yield what happens until every future is done; raises the first failure."""
        pending = set(futures)
        told: dict[Digest, int] = {}
        due = time.monotonic() + _INTERVAL
        while pending:
            done, pending = wait(pending, timeout=max(0.0, due - time.monotonic()), return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                blob = futures[future]
                if is_shown(blob):
                    yield _line(self._outcomes[blob.digest], blob)
            if time.monotonic() >= due:
                yield from self._advances([futures[future] for future in futures if future in pending], told)
                due = time.monotonic() + _INTERVAL

    def _advances(self, blobs: Sequence[Descriptor], told: dict[Digest, int]) -> Iterator[Progress]:
        """A line for each shown blob that waits or has advanced since it was told, or else one tick."""
        sent = dict(self._sent)
        moved = [blob for blob in blobs if is_shown(blob) and sent.get(blob.digest, -1) != told.get(blob.digest)]
        for blob in moved:
            told[blob.digest] = sent.get(blob.digest, -1)
            waits = told[blob.digest] < 0
            yield _line("Waiting", blob) if waits else Progress("Pushing", blob.digest.short, Detail(told[blob.digest], blob.size))
        if not moved:
            yield Progress()

    def _advance(self, blob: Descriptor, sent: int) -> None:
        self._check()
        self._sent[blob.digest] = sent

    def _check(self) -> None:
        """Raise where the push has ended."""
        if self._cancelled.is_set():
            raise RegistryFailure("context canceled")


def _line(status: str, blob: Descriptor) -> Progress:
    return Progress(status, blob.digest.short, Detail())
