"""Turn bytes into a blob with its facts; shared by pull, load and import.

A transaction records blob row and layer facts, once the file is committed and while a lease holds it; see recording.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import TypeVar, cast
from uuid import uuid4

from stowage.services.archive.layer import LayerDigester
from stowage.services.archive.stage import Stage
from stowage.services.content.protocol import Ingest
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, OutOfSpace
from stowage.services.gc.damage import sound_blobs
from stowage.services.gc.leases import Lease
from stowage.services.intake.concurrent_writers import take_turn
from stowage.services.intake.recording import Recorder, StoredBlob, record_blobs
from stowage.services.metadata.records import LayerFacts
from stowage.services.oci.digest import Digest, Digester
from stowage.services.progress import Progress
from stowage.services.registry.repository import BlobStream

_T = TypeVar("_T")

_SMALL_BYTES = 1 << 20
"""A blob up to this size is not looked up again once it is this writer's turn: to store it twice takes about as long."""


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
    pour = partial(_pour, chunks, size=size)
    stored, came = yield from _single_flight(engine, lease, pour, digest=digest, size=size)
    if not came:
        yield from _verify(chunks, digest, size)
    return stored


def store_bytes(engine: Engine, lease: Lease, content: bytes) -> Digest:
    """Store a small document (manifest, config, index)."""
    return store_blob(engine, lease, [content], digest=Digest.of(content), size=len(content)).digest


def fetch_blob(
    engine: Engine,
    lease: Lease,
    open_at: Callable[[int], BlobStream],
    *,
    digest: Digest,
    size: int,
    anew: bool = False,
    waiting: Callable[[], None] = lambda: None,
    recorder: Recorder | None = None,
) -> StoredBlob:
    """Store a blob that can be read from any offset. Resumes what an earlier try left, unless `anew`, and fetches only the rest.

    `open_at` gets the offset to begin at, and is not called if nothing is missing. `waiting` is called about every 50 ms while another
    writer is writing the same blob and while the existing part is read; it may raise to give up. A writer below the least rate is not
    waited for: the blob is fetched beside it, from its source. If the fetch breaks or is cancelled, what arrived stays for the next try,
    unless it was fetched beside another. Otherwise it raises as `store_blob` does and nothing is left. A damaged blob stays until its bytes
    are verified. With a recorder, the lease holds the digest already, and the row may be written later, together with others.
    """

    def fill(ingest: Ingest, layer: LayerDigester) -> Iterator[Progress]:
        return _complete(open_at, ingest, layer, size, waiting, anew=anew)

    return _to_the_end(_single_flight(engine, lease, fill, digest=digest, size=size, waiting=waiting, recorder=recorder))[0]


def commit_blob(engine: Engine, ingest: Ingest, facts: LayerFacts | None, *, digest: Digest, size: int | None = None) -> StoredBlob:
    """Publish the ingest under its digest, which a lease holds, and record it with its facts before the ingest is released.

    Raises InvalidContent if digest or size differ; then nothing is left.
    """
    ingest.commit(digest, size)
    stored = StoredBlob(digest, ingest.offset, facts)
    record_blobs(engine, [stored], {digest: ingest.location})
    return stored


def _single_flight(
    engine: Engine,
    lease: Lease,
    fill: Callable[[Ingest, LayerDigester], Iterator[Progress]],
    *,
    digest: Digest,
    size: int | None,
    waiting: Callable[[], None] = lambda: None,
    recorder: Recorder | None = None,
) -> Generator[Progress, None, tuple[StoredBlob, bool]]:
    """The blob, and whether it was filled here: not if it is already sound, or another writer stores it first."""
    if recorder is None and lease.add([digest]):
        return _present(engine, digest, size), False
    with ExitStack() as held:
        ingest, waited = held.enter_context(take_turn(engine, lease, digest, size, waiting))
        with ingest.settling():  # no other writer may record the file after its row is looked up and before it is taken back
            is_vacant = ingest.is_vacant
            if is_vacant is None:
                is_small = size is not None and size <= _SMALL_BYTES
                is_vacant = (is_small and not waited and lease.lacks(digest)) or engine.content.size(digest) is None
            if not is_vacant:
                if _is_sound(engine, digest):
                    return _present(engine, digest, size), False
                if not _has_row(engine, digest):
                    ingest.adopt()
        with closing(_layer_digester(engine, digest.algorithm)) as layer:
            yield from fill(ingest, layer)
            if recorder is None:
                return _commit(engine, ingest, layer, digest, size), True
            stored = _publish(ingest, layer, digest, size)
            recorder.add([stored], {digest: ingest.location}, held.pop_all())
            return stored, True


def _store_unnamed(engine: Engine, lease: Lease, chunks: Iterable[bytes], size: int | None) -> Generator[Progress, None, StoredBlob]:
    """The digest is known only at the end. It is leased before the file appears; the bytes are dropped if it is already present."""
    if size is not None:
        engine.content.require_room(size)
    with engine.content.ingest(uuid4().hex, lease=lease.id) as ingest, closing(_layer_digester(engine, "sha256")) as layer:
        yield from _pour(chunks, ingest, layer, size)
        if lease.add([ingest.digest]):
            return _present(engine, ingest.digest, size)
        return _commit(engine, ingest, layer, ingest.digest, size)


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


def _layer_digester(engine: Engine, algorithm: str) -> LayerDigester:
    return LayerDigester(engine.bounds, algorithm=algorithm)


def _pour(chunks: Iterable[bytes], ingest: Ingest, layer: LayerDigester, size: int | None) -> Iterator[Progress]:
    """Write and hash the chunks in parallel with their source, up to the first byte too many (which the commit then refuses)."""
    offset = ingest.offset
    writing = Stage(ingest.write)
    try:
        for chunk in chunks:
            layer.feed(chunk)
            writing.put(chunk)
            offset += len(chunk)
            if writing.failed or (size is not None and offset > size):
                break
            yield Progress()
    finally:
        writing.finish()  # also when the chunks end in an error: what arrived may be kept


def _complete(
    open_at: Callable[[int], BlobStream],
    ingest: Ingest,
    layer: LayerDigester,
    size: int,
    waiting: Callable[[], None],
    *,
    anew: bool,
) -> Iterator[Progress]:
    try:
        if not anew:
            _resume(ingest, layer, size, waiting)
        if ingest.offset == size:
            return
        with closing(open_at(ingest.offset)) as stream:
            if stream.offset != ingest.offset:
                _restart(ingest, layer)
            yield from _pour(stream, ingest, layer, size)
    except OutOfSpace:
        raise
    except BaseException:
        ingest.keep()
        raise


def _resume(ingest: Ingest, layer: LayerDigester, size: int, waiting: Callable[[], None]) -> None:
    for chunk in ingest.resume():
        layer.feed(chunk)
        waiting()
    if ingest.offset > size:
        _restart(ingest, layer)


def _restart(ingest: Ingest, layer: LayerDigester) -> None:
    ingest.restart()
    layer.restart()


def _commit(engine: Engine, ingest: Ingest, layer: LayerDigester, digest: Digest, size: int | None) -> StoredBlob:
    """Publish and record what was written; a bomb is refused before anything is visible."""
    stored = _publish(ingest, layer, digest, size)
    record_blobs(engine, [stored], {digest: ingest.location})
    return stored


def _publish(ingest: Ingest, layer: LayerDigester, digest: Digest, size: int | None) -> StoredBlob:
    found = layer.finish(ingest.digest)
    ingest.commit(digest, size)
    return StoredBlob(digest, ingest.offset, LayerFacts(*found) if found else None)


def _has_row(engine: Engine, digest: Digest) -> bool:
    """Whether the blob is recorded. If it has a file, a commit of its row may still be on its way to the database: writers wait for it."""
    settled = engine.metadata.read if engine.content.size(digest) is None else engine.metadata.write
    with settled() as tx:
        return bool(tx.graph.present([digest]))


def _is_sound(engine: Engine, digest: Digest) -> bool:
    with engine.metadata.read() as tx:
        unmarked = tx.graph.unmarked([digest])
    return bool(sound_blobs(engine.content, unmarked))


def _present(engine: Engine, digest: Digest, size: int | None) -> StoredBlob:
    with engine.metadata.read() as tx:
        actual = tx.graph.blob_sizes([digest])[digest]
        facts = tx.graph.layers([digest]).get(digest)
    if size is not None and size != actual:
        raise InvalidContent(f"unexpected size {size} of {digest}, which has {actual}")
    return StoredBlob(digest, actual, facts)
