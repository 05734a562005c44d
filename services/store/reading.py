"""Bytes of the store that are served or relied on: they are verified as they are read, and damage is marked for later readers.

Only complete content with another digest is a finding. Content that cannot be read at the moment is an error, and marks nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO

from stowage.services.archive.stage import Stage
from stowage.services.content.protocol import Version
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.files import storage_errors
from stowage.services.gc.damage import bytes_problem, damaged, file_problem, mark_blob
from stowage.services.oci.digest import Digest, Digester
from stowage.services.oci.manifest import MAX_MANIFEST_BYTES

_CHUNK_BYTES = 1 << 20


def refuse_damaged(engine: Engine, unsound: Iterable[Digest]) -> None:
    """Raise Damaged for a blob that is not sound but has a row; those without one are merely absent."""
    unsound = set(unsound)
    with engine.metadata.read() as tx:
        sizes, damages = tx.graph.blob_sizes(unsound), tx.graph.damages(unsound)
    for digest, size in sorted(sizes.items()):
        if damage := file_problem(engine.content, digest, size) or damages.get(digest):
            raise damaged(digest, damage)
        read_document(engine, digest)  # only a small blob's bytes are known to be wrong before they are read


def read_document(engine: Engine, digest: Digest, *, most: int = MAX_MANIFEST_BYTES) -> bytes:
    """The whole of a small blob. Raises BlobNotFound, Damaged if it holds other bytes, and InvalidContent if it has more than `most` bytes.

    Such a blob is not read: an index may call any layer of the store a manifest.
    """
    raw = _read(engine, digest, most)
    if Digest.of(raw, digest.algorithm) != digest:  # is read again: a finding is about a version that was known before
        version = engine.content.version(digest)
        raw = _read(engine, digest, most)
        _check(engine, digest, Digest.of(raw, digest.algorithm), version)
    return raw


def _read(engine: Engine, digest: Digest, most: int) -> bytes:
    with engine.content.open(digest) as file, storage_errors():
        size = file.seek(0, os.SEEK_END)
        if size > most:
            raise InvalidContent(f"document {digest} of {size} bytes is larger than {most} bytes")
        file.seek(0)
        return file.read()


@contextmanager
def open_verified(engine: Engine, digest: Digest, size: int) -> Iterator[VerifiedBlob]:
    """Open a blob that will be sent; raises BlobNotFound, and Damaged if its size differs from its row's."""
    version = engine.content.version(digest)
    with engine.content.open(digest) as file, closing(VerifiedBlob(engine, digest, size, file, version)) as blob:
        if problem := file_problem(engine.content, digest, size):
            raise damaged(digest, problem)
        yield blob


class VerifiedBlob:
    """An open blob whose last bytes are returned only if all bytes match its digest; a second thread hashes them.

    Used by one thread. Raises Damaged in place of the last bytes, Internal if the disk cannot be read.
    """

    def __init__(self, engine: Engine, digest: Digest, size: int, file: BinaryIO, version: Version | None) -> None:
        self._engine = engine
        self._digest = digest
        self._size = size
        self._file = file
        self._version = version
        self._begin()

    def _begin(self) -> None:
        self._position = 0
        self._digester = Digester(self._digest.algorithm)
        self._hashing = Stage(self._digester.update)

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, none at the end."""
        with storage_errors():
            chunk = self._file.read(min(size, self._size - self._position))
        self._hashing.put(chunk)
        self._position += len(chunk)
        if self._position == self._size or not chunk:
            self._hashing.finish()
            _check(self._engine, self._digest, self._digester.digest, self._version)
        return chunk

    def seek(self, offset: int, /) -> int:
        """Continue from this offset; what comes before it is read again, since the digest covers all bytes."""
        if offset != self._position:
            self.close()
            with storage_errors():
                self._file.seek(0)
            self._begin()
            while self._position < offset and self.read(min(_CHUNK_BYTES, offset - self._position)):
                pass
        return self._position

    def close(self) -> None:
        """End the hashing; the file belongs to the opener."""
        self._hashing.close()


def _check(engine: Engine, digest: Digest, actual: Digest, version: Version | None) -> None:
    """Mark a blob that holds other bytes, and raise Damaged."""
    if damage := bytes_problem(digest, actual):
        mark_blob(engine.metadata, engine.content, digest, damage, version=version)
        raise damaged(digest, damage)
