"""A root file system archive as a layer: checked while it streams, never unpacked.

Gzip and zstd archives are kept unchanged. A plain, bzip2 or xz archive becomes gzip, in blocks of 256 KiB that several threads compress in
parallel; the result depends only on the content.

Source: moby daemon/containerd/image_import.go (saveArchive).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from uuid import uuid4

from isal import igzip_threaded

from stowage.services.archive.bounds import Bounds
from stowage.services.archive.compression import Chunks, Compression, Readable, decompress
from stowage.services.archive.stage import Stage
from stowage.services.archive.tar_reader import TarReader
from stowage.services.content.protocol import Ingest
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.gc.leases import Lease
from stowage.services.intake.recording import Recorder, StoredBlob
from stowage.services.metadata.records import LayerFacts
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest, Digester
from stowage.services.oci.mediatypes import OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from stowage.services.progress import Progress

_BLOCK = 256 << 10  # a dozen of them are kept by the queues and threads of one import
_LEVEL = 1
_COMPRESSION_THREADS = 2
_KEPT = {Compression.GZIP: OCI_LAYER_GZIP, Compression.ZSTD: OCI_LAYER_ZSTD}


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """The layer as a manifest lists it, and the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: Digest


def store_rootfs(engine: Engine, lease: Lease, source: Readable) -> Generator[Progress, None, StoredLayer]:
    """Store what `source` holds as one layer, and record it under the lease. An empty source is an empty layer.

    Yields ticks. Raises InvalidContent if it is not a whole tar or is a bomb, and OutOfSpace; then, and when
    it is closed, nothing is left.
    """
    received = _blocks(source)
    head = next(received, b"")
    compression = Compression.detect(head)
    with engine.content.ingest(uuid4().hex, lease=lease.id) as ingest:
        try:
            facts = yield from _fill(ingest, compression, chain([head] if head else (), received), engine.bounds)
        except InvalidContent as exc:
            raise InvalidContent(f"invalid root file system archive: {exc}") from exc
        if not lease.add([ingest.digest]):
            ingest.commit(ingest.digest)
            Recorder(engine).record([StoredBlob(ingest.digest, ingest.offset, facts)], {ingest.digest: ingest.location})
        descriptor = Descriptor(_KEPT.get(compression, OCI_LAYER_GZIP), ingest.digest, ingest.offset)
    return StoredLayer(descriptor, facts.diff_id)


def _blocks(source: Readable) -> Iterator[bytes]:
    """The source in blocks of exactly 256 KiB, the last one shorter, however it arrives."""
    while True:
        parts: list[bytes] = []
        missing = _BLOCK
        while missing and (part := source.read(missing)):
            parts.append(part)
            missing -= len(part)
        if len(parts) > 0:
            yield b"".join(parts) if len(parts) > 1 else parts[0]
        if missing:
            return


def _fill(ingest: Ingest, compression: Compression, received: Iterator[bytes], bounds: Bounds) -> Generator[Progress, None, LayerFacts]:
    """Write the layer's bytes and derive its facts, each in its own thread, while this one walks the archive."""
    with ExitStack() as running:
        if compression in _KEPT:
            storing = running.enter_context(_stage(ingest.write))
            return (yield from _walk(running.enter_context(closing(decompress(_copied(received, storing), compression, bounds)))))
        compress = running.enter_context(_gzip(ingest, in_blocks=compression is Compression.NONE))
        return (yield from _walk(_copied(running.enter_context(closing(decompress(received, compression, bounds))), compress)))


@contextmanager
def _stage(apply: Callable[[bytes], object]) -> Iterator[Callable[[bytes], None]]:
    """Apply a function to chunks in its own thread; an error in it is raised by the next call or at the end."""
    stage = Stage(apply)

    def put(chunk: bytes) -> None:
        if stage.failed:
            stage.finish()
        stage.put(chunk)

    with closing(stage):
        yield put
        stage.finish()


@contextmanager
def _gzip(ingest: Ingest, *, in_blocks: bool) -> Iterator[Callable[[bytes], None]]:
    """Compress chunks into the ingest; an error of the ingest is raised by a later call or at the end.

    Chunks that are `in_blocks` of 256 KiB already are not copied into such.
    """
    writer = _Writer(ingest)
    opened = igzip_threaded.open(  # type: ignore[no-untyped-call]  # isal's module is not annotated
        writer, "wb", _LEVEL, threads=_COMPRESSION_THREADS, block_size=_BLOCK
    )

    def compress(chunk: bytes) -> None:
        writer.check()
        write(chunk)

    with opened as stream:
        write = stream.raw.write if in_blocks else stream.write
        yield compress
    writer.check()


class _Writer:
    """An ingest as the file that the compressor writes to.

    An error is kept here: the compressor would raise the same object twice, which makes it its own context.
    """

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._error: Exception | None = None

    def write(self, chunk: bytes) -> int:
        if self._error is None:
            try:
                self._ingest.write(chunk)
            except Exception as exc:  # noqa: BLE001 - check raises it, in the caller's thread
                self._error = exc
        return len(chunk)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def check(self) -> None:
        if self._error is not None:
            raise self._error


def _copied(chunks: Iterator[bytes], put: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        put(chunk)
        yield chunk


def _walk(chunks: Iterator[bytes]) -> Generator[Progress, None, LayerFacts]:
    """Check that this is a tar, and measure all of it, including what follows its end."""
    measure = _Measure()
    with _stage(measure.take) as take:
        passing = _copied(chunks, take)
        source = Chunks(passing)
        reader = TarReader(source.read, source.skip)
        for _ in reader:
            yield Progress()
            while reader.skip_some():
                yield Progress()
        for _ in passing:
            yield Progress()
    return measure.facts


class _Measure:
    """Digest and size of the chunks that it receives."""

    def __init__(self) -> None:
        self._digester = Digester()
        self._size = 0

    def take(self, chunk: bytes) -> None:
        self._digester.update(chunk)
        self._size += len(chunk)

    @property
    def facts(self) -> LayerFacts:
        return LayerFacts(self._digester.digest, self._size)
