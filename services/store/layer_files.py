"""The list of files of a layer: kept by the metadata store, or read from the layer at the first look.

One thread of a process reads a layer at a time, and the others then find the list kept. Two processes may read it at once, since that only
costs time; the last one's list is kept, and it is the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Lock

from stowage.services.archive.compression import Compression
from stowage.services.archive.file_list import FileList, inflated_size
from stowage.services.archive.layer_files import read_layer_files
from stowage.services.archive.stream import decompress
from stowage.services.engine import Engine
from stowage.services.errors import BlobNotFound, EngineError, Forbidden, InvalidContent
from stowage.services.oci.digest import Digest
from stowage.services.store.reading import VerifiedBlob, open_verified

_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 10

_log = logging.getLogger(__name__)
_turns: dict[Digest, tuple[Lock, int]] = {}
_turns_lock = Lock()


def list_layer_files(engine: Engine, digest: Digest, *, hold: Callable[[int], None]) -> FileList:
    """What is in the layer blob of this digest; see `FileList.problem` for what is missing.

    Reads the blob unless its list is kept, and keeps the list. Nothing is unpacked. `hold` reserves the memory of the list while it grows.
    Raises BlobNotFound, Damaged (then the blob is marked), Forbidden if it takes too long, and what reservations raise.
    """
    if (known := _kept(engine, digest, hold)) is not None:
        return known
    with _turn(digest):
        if (known := _kept(engine, digest, hold)) is not None:
            return known
        found = _read(engine, digest, hold)
        _keep(engine, digest, found)
        return found


def _kept(engine: Engine, digest: Digest, hold: Callable[[int], None]) -> FileList | None:
    """The kept list, unless it is of another version, or was cut at a lower limit."""
    with engine.metadata.read() as tx:
        kept = tx.layer_files.get([digest]).get(digest)
    if kept is None:
        return None
    try:
        with closing(engine.memory.reservation()) as memory:
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


def _read(engine: Engine, digest: Digest, hold: Callable[[int], None]) -> FileList:
    with engine.metadata.read() as tx:
        size = tx.graph.blob_sizes([digest]).get(digest)
    if size is None:
        raise BlobNotFound(f"no blob {digest}")
    with open_verified(engine, digest, size) as blob:
        stored = _stored(blob, digest, engine.limits.listing_seconds)
        head = next(stored, b"")
        compression = Compression.detect(head[:_HEAD_BYTES])
        with closing(decompress(_chain(head, stored), compression, engine.bounds)) as chunks:
            found = read_layer_files(chunks, most=engine.limits.listed_entries, hold=hold)
        for _ in stored:  # the digest is that of all bytes
            pass
    return found


def _stored(blob: VerifiedBlob, digest: Digest, seconds: int) -> Iterator[bytes]:
    """The bytes of a blob, read until it takes too long."""
    until = time.monotonic() + seconds
    while chunk := blob.read(_CHUNK_BYTES):
        yield chunk
        if time.monotonic() > until:
            raise Forbidden(f"reading the files of layer {digest} takes more than {seconds} seconds; STOWAGE_LISTING_SECONDS allows more")


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


@contextmanager
def _turn(digest: Digest) -> Iterator[None]:
    """Read this layer alone in this process."""
    with _turns_lock:
        lock, waiting = _turns.get(digest, (Lock(), 0))
        _turns[digest] = lock, waiting + 1
    try:
        with lock:
            yield
    finally:
        with _turns_lock:
            lock, waiting = _turns.pop(digest)
            if waiting > 1:
                _turns[digest] = lock, waiting - 1
