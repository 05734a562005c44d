"""Writing a blob with the facts of its bytes, one writer at a time; shared by pull, load and import.

One writer at a time, since a blob that many clients want should be fetched once. But no one waits for a writer that is too slow: a
`docker load` stalled in the middle of a layer, or a very slow registry, would otherwise hold up everyone who wants that layer. Those who do
not wait write a partial of their own. The last rename then replaces a file with an equal one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TypeVar, cast
from uuid import uuid4

from stowage.services.archive.layer import LayerDigester
from stowage.services.archive.stage import Stage
from stowage.services.content.protocol import Ingest
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, OutOfSpace
from stowage.services.gc.damage import sound_blobs
from stowage.services.gc.leases import Lease
from stowage.services.intake.recording import Recorder, StoredBlob
from stowage.services.metadata.records import LayerFacts
from stowage.services.oci.digest import Digest, Digester
from stowage.services.progress import Progress

_T = TypeVar("_T")


def store_blob(
    engine: Engine, lease: Lease, chunks: Iterable[bytes], *, digest: Digest | None = None, size: int | None = None
) -> StoredBlob:
    """Write the chunks as one blob, verify it against digest and size if given, and record it with its facts.

    If a sound blob with the digest is already present, the chunks are only verified. No more are read than the size allows. Raises
    InvalidContent on a mismatch or a bomb, OutOfSpace, and what the chunks raise. Nothing new is then left, and what was present stays.
    """
    return _to_the_end(storing_blob(engine, lease, chunks, digest=digest, size=size))


def storing_blob(
    engine: Engine, lease: Lease, chunks: Iterable[bytes], *, digest: Digest | None = None, size: int | None = None
) -> Generator[Progress, None, StoredBlob]:
    """`store_blob` in steps, a tick for each chunk; nothing new is left if it is closed before its end."""
    if digest is None:
        return (yield from _store_unnamed(engine, lease, chunks, size))
    with writing(engine, lease, digest, size) as writer:
        if writer is not None:
            yield from writer.pour(chunks)
            return writer.commit(Recorder(engine))
    stored = read_stored(engine, digest, size)
    yield from _verify(chunks, digest, size)
    return stored


def store_bytes(engine: Engine, lease: Lease, content: bytes) -> Digest:
    """Store a small document (manifest, config, index)."""
    return store_blob(engine, lease, [content], digest=Digest.of(content), size=len(content)).digest


def read_stored(engine: Engine, digest: Digest, size: int | None = None) -> StoredBlob:
    """A blob that is present, with its facts; raises InvalidContent if it has another size."""
    with engine.metadata.read() as tx:
        actual = tx.graph.blob_sizes([digest])[digest]
        facts = tx.graph.layers([digest]).get(digest)
    if size is not None and size != actual:
        raise InvalidContent(f"unexpected size {size} of {digest}, which has {actual}")
    return StoredBlob(digest, actual, facts)


@contextmanager
def writing(
    engine: Engine,
    lease: Lease,
    digest: Digest,
    size: int | None,
    *,
    waiting: Callable[[], None] = lambda: None,
    is_leased: bool = False,
) -> Iterator[BlobWriter | None]:
    """Write a blob that is not present and sound; yields None if it is, also because another writer has stored it meanwhile.

    `waiting` is called about every 50 ms while another writer is writing the same blob and while the existing part is read; it may raise to
    give up. With `is_leased` the lease holds the digest already, and has seen that it is absent. A damaged blob stays until the new bytes
    are verified. Raises OutOfSpace for a size that the store can never take.
    """
    if not is_leased and lease.add([digest]):
        yield None
        return
    if size is not None:
        engine.content.require_room(size)
    with _turn(engine, lease, digest, size, waiting) as ingest:
        with ingest.locking():  # no other writer may record the file after its row is looked up and before it is taken back
            is_present = engine.content.size(digest) is not None
            is_sound = is_present and _is_sound(engine, digest)
            if is_present and not is_sound and not _has_row(engine, digest):
                ingest.adopt()
        if is_sound:
            yield None
            return
        with closing(BlobWriter(engine, ingest, digest, size, waiting)) as writer:
            yield writer


class BlobWriter:
    """A blob while it is written: its partial, and the facts that are derived from the bytes as they pass."""

    def __init__(self, engine: Engine, ingest: Ingest, digest: Digest, size: int | None, waiting: Callable[[], None]) -> None:
        self.digest = digest
        self.size = size
        self._ingest = ingest
        self._waiting = waiting
        self._layer = LayerDigester(engine.bounds, algorithm=digest.algorithm)

    @property
    def offset(self) -> int:
        """How many bytes it has."""
        return self._ingest.offset

    def resume(self) -> None:
        """Take over what an earlier writer has left, unless that is more than the blob has."""
        for chunk in self._ingest.resume():
            self._layer.feed(chunk)
            self._waiting()
        if self.size is not None and self.offset > self.size:
            self.restart()

    def restart(self) -> None:
        """Begin again at offset 0."""
        self._ingest.restart()
        self._layer.restart()

    def pour(self, chunks: Iterable[bytes]) -> Iterator[Progress]:
        """Write and hash the chunks in parallel with their source, up to the first byte too many (which the commit then refuses).

        Yields a tick for each.
        """
        return _pour(chunks, self._ingest, self._layer, self.size)

    @contextmanager
    def kept_if_broken(self) -> Iterator[None]:
        """Leave what has arrived for the next try if the source breaks off or is cancelled inside."""
        try:
            yield
        except OutOfSpace:
            raise
        except BaseException:
            self._ingest.keep()
            raise

    def commit(self, recorder: Recorder) -> StoredBlob:
        """Verify, publish and record the blob; a bomb is refused before anything is visible, and then nothing is left."""
        return _commit(self._ingest, self._layer, recorder, self.digest, self.size)

    def close(self) -> None:
        """Stop deriving facts; the partial belongs to `writing`."""
        self._layer.close()


def _store_unnamed(engine: Engine, lease: Lease, chunks: Iterable[bytes], size: int | None) -> Generator[Progress, None, StoredBlob]:
    """The digest is known only at the end. It is leased before the file appears; the bytes are dropped if it is already present."""
    if size is not None:
        engine.content.require_room(size)
    with engine.content.ingest(uuid4().hex, lease=lease.id) as ingest, closing(LayerDigester(engine.bounds)) as layer:
        yield from _pour(chunks, ingest, layer, size)
        if lease.add([ingest.digest]):
            return read_stored(engine, ingest.digest, size)
        return _commit(ingest, layer, Recorder(engine), ingest.digest, size)


def _pour(chunks: Iterable[bytes], ingest: Ingest, layer: LayerDigester, size: int | None) -> Iterator[Progress]:
    offset = ingest.offset
    stage = Stage(ingest.write)
    try:
        for chunk in chunks:
            layer.feed(chunk)
            stage.put(chunk)
            offset += len(chunk)
            if stage.failed or (size is not None and offset > size):
                break
            yield Progress()
    finally:
        stage.finish()  # also when the chunks end in an error: what arrived may be kept


def _commit(ingest: Ingest, layer: LayerDigester, recorder: Recorder, digest: Digest, size: int | None) -> StoredBlob:
    found = layer.finish(ingest.digest)
    ingest.commit(digest, size)
    stored = StoredBlob(digest, ingest.offset, LayerFacts(*found) if found else None)
    recorder.record([stored], {digest: ingest.location})
    return stored


def _verify(chunks: Iterable[bytes], digest: Digest, size: int | None) -> Iterator[Progress]:
    """Hash chunks that are not needed: an archive with wrong bytes is refused even if the blob is already present."""
    digester, offset = Digester(digest.algorithm), 0
    hashing = Stage(digester.update)
    try:
        for chunk in chunks:
            hashing.put(chunk)
            offset += len(chunk)
            if size is not None and offset > size:
                break
            yield Progress()
    finally:
        hashing.finish()
    if size is not None and offset != size:
        raise InvalidContent(f"unexpected commit size {offset}, expected {size}")
    if digester.digest != digest:
        raise InvalidContent(f"unexpected commit digest {digester.digest}, expected {digest}")


def _to_the_end(steps: Generator[Progress, None, _T]) -> _T:
    """Take every step, and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("_T", done.value)


def _has_row(engine: Engine, digest: Digest) -> bool:
    """Whether a blob that has a file is recorded. A commit of its row may still be on its way to the database: writers wait for it."""
    with engine.metadata.write() as tx:
        return bool(tx.graph.present([digest]))


def _is_sound(engine: Engine, digest: Digest) -> bool:
    with engine.metadata.read() as tx:
        unmarked = tx.graph.unmarked([digest])
    return bool(sound_blobs(engine.content, unmarked))


@contextmanager
def _turn(engine: Engine, lease: Lease, digest: Digest, size: int | None, waiting: Callable[[], None]) -> Iterator[Ingest]:
    """Hold the ingest of a digest, or one of its own if the holder is slower than the least rate or writes more than the blob's `size`."""
    location = lease.take_location(digest)
    watch = _Watch(engine, digest, size, waiting)
    with ExitStack() as held:
        try:
            ingest = held.enter_context(engine.content.ingest(str(digest), lease=lease.id, location=location, waiting=watch))
        except _TooSlow:
            own = f"{digest}:{uuid4().hex}"
            ingest = held.enter_context(engine.content.ingest(own, lease=lease.id, location=location, waiting=waiting))
        watch.is_over = True
        yield ingest


class _TooSlow(Exception):
    """The holder of the ingest is slower than the least rate, or writes what cannot be the blob."""


class _Watch:
    """Called while an ingest is waited for: raises _TooSlow when its holder has written too little, or too much, for `turn_seconds`."""

    def __init__(self, engine: Engine, digest: Digest, size: int | None, waiting: Callable[[], None]) -> None:
        self.is_over = False
        self._content = engine.content
        self._seconds = engine.limits.turn_seconds
        self._least = engine.limits.least_rate * self._seconds
        self._digest = digest
        self._most = math.inf if size is None else size
        self._waiting = waiting
        self._size, self._until = 0, 0.0

    def __call__(self) -> None:
        self._waiting()
        if not self._until:
            self._begin()
        if self.is_over or time.monotonic() < self._until:
            return
        size = self._content.partial_size(str(self._digest))
        written = size - self._size
        if size > self._most or (0 <= written < self._least and not self._is_locked()):  # a partial that shrank was begun anew
            raise _TooSlow
        self._begin()

    def _begin(self) -> None:
        self._size = self._content.partial_size(str(self._digest))
        self._until = time.monotonic() + self._seconds

    def _is_locked(self) -> bool:
        """Whether the holder is only waiting for its disk: it is reading the existing part again, or publishing."""
        with self._content.locked(self._digest) as free:
            return not free
