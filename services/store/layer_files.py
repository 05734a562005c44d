"""The list of files of a layer: kept by the metadata store, or read from the layer at the first look.

One thread of a process reads a layer at a time, and the others then find its list. If the layer is damaged, or reading it takes too long,
waiting threads fail in the same way, and for a while also later ones that have no more time. If the reading ends because its client has
disconnected, the next thread reads. Two processes may read a layer at once, which only costs time: both lists are the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

from stowage.services.archive.compression import Compression, decompress
from stowage.services.archive.file_list import FileList, inflated_size
from stowage.services.archive.layer_files import read_layer_files
from stowage.services.budget import Reservation
from stowage.services.engine import Engine
from stowage.services.errors import BlobNotFound, Damaged, EngineError, InvalidContent
from stowage.services.kept import Kept
from stowage.services.oci.digest import Digest
from stowage.services.store.look import Look, TookTooLong, Turns
from stowage.services.store.reading import open_verified

_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 10

_log = logging.getLogger(__name__)
_turns = Turns()
_FAILED_SECONDS = 600
_MOST_FAILURES = 1000


class _Failure(NamedTuple):
    """A failure to read a layer: its reason, its time, and the seconds until it."""

    error: type[Damaged | TookTooLong]
    message: str
    moment: float
    took: float


_failures: Kept[Digest, _Failure] = Kept(_MOST_FAILURES)


def list_layer_files(engine: Engine, digest: Digest, look: Look, *, hold: Callable[[int], None]) -> FileList:
    """What is in the layer blob of this digest; see `FileList.problem` for what is missing.

    Reads the blob unless its list is kept, and keeps the list. Nothing is unpacked. `hold` reserves the memory of the list while it grows.
    Raises BlobNotFound, Damaged (then the blob is marked), what `Look.check` raises, and what reservations raise.
    """
    if (known := _kept(engine, digest, hold)) is not None:
        return known
    began = time.monotonic()
    with _turns.take(digest, look, "the layer"):
        if (known := _kept(engine, digest, hold)) is not None:
            return known
        _share_failure(digest, look, began)
        found = _try(engine, digest, look, hold)
        _keep(engine, digest, found)
        return found


def _share_failure(digest: Digest, look: Look, began: float) -> None:
    """Raise what reading the layer raised since the look began, or, for a while, if the look has no more time than was not enough."""
    failure = _failures.get(digest)
    if failure is None:
        return
    is_hopeless = failure.error is TookTooLong and failure.took >= look.left and time.monotonic() - failure.moment < _FAILED_SECONDS
    if is_hopeless or (failure.error is Damaged and failure.moment >= began):
        raise failure.error(failure.message)


def _try(engine: Engine, digest: Digest, look: Look, hold: Callable[[int], None]) -> FileList:
    """Read the layer, and remember a failure that another look would share."""
    look.check("reading the layers before it")
    began = time.monotonic()
    try:
        return _read(engine, digest, look, hold)
    except (Damaged, TookTooLong) as exc:
        now = time.monotonic()
        _failures.put(digest, _Failure(type(exc), str(exc), now, now - began), 1)
        raise


def _task(digest: Digest) -> str:
    return f"reading the files of layer {digest}"


def _kept(engine: Engine, digest: Digest, hold: Callable[[int], None]) -> FileList | None:
    """The kept list, unless it is of another version, or was cut at a lower limit."""
    with engine.metadata.read() as tx:
        kept = tx.layer_files.get([digest]).get(digest)
    if kept is None:
        return None
    try:
        with closing(Reservation(engine.memory)) as memory:
            memory.hold(inflated_size(kept))
            found = FileList.parse(kept, hold=hold)
    except InvalidContent:
        return None
    return None if found.is_cut and found.most < engine.limits.listed_entries else found


def _keep(engine: Engine, digest: Digest, found: FileList) -> None:
    """Keep the list. If that fails, for want of space for example, it can still be shown."""
    if not engine.limits.listing_bytes:
        return
    try:
        with engine.metadata.write() as tx:
            tx.layer_files.put(digest, found.dump(), engine.clock(), most=engine.limits.listing_bytes)
    except EngineError:
        _log.warning("could not keep the list of files of layer %s", digest, exc_info=True)


def _read(engine: Engine, digest: Digest, look: Look, hold: Callable[[int], None]) -> FileList:
    with engine.metadata.read() as tx:
        size = tx.graph.blob_sizes([digest]).get(digest)
    if size is None:
        raise BlobNotFound(f"no blob {digest}")
    with open_verified(engine, digest, size) as blob:
        stored = look.checked(iter(lambda: blob.read(_CHUNK_BYTES), b""), _task(digest))
        head = next(stored, b"")
        compression = Compression.detect(head[:_HEAD_BYTES])
        with closing(decompress(_chain(head, stored), compression, engine.bounds)) as chunks:
            found = read_layer_files(look.checked(chunks, _task(digest)), most=engine.limits.listed_entries, hold=hold)
        for _ in stored:  # the digest is that of all bytes
            pass
    return found


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest
