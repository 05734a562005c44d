"""One writer's partial on disk: appended and hashed, then published by a rename."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO

from stowage.services.content.errors import storage_errors
from stowage.services.content.files import (
    clear_place,
    file_state,
    make_folder,
    open_file,
    open_partial,
    prepare_partial,
    remove_partial,
    state,
    sync_folder,
)
from stowage.services.content.locks import wait_lock
from stowage.services.content.paths import Layout, target_of
from stowage.services.errors import InvalidContent
from stowage.services.meter import Note, timed
from stowage.services.oci.digest import Digest, Digester

_CHUNK_BYTES = 1 << 20


class FileIngest:
    """The ingest of one key (services/content/protocol.py: Ingest); its lock is held as long as it is used."""

    def __init__(self, layout: Layout, key: str, waiting: Callable[[], None], note: Note) -> None:
        self._layout = layout
        self._waiting = waiting
        self._note = note
        self._locks = ExitStack()
        self._target, self._is_beside = target_of(key)
        self._path = layout.partial(key)
        self._file: FileIO | None = None
        self._keep = False
        self._published = False
        self.location = ""
        self._begin()

    def _begin(self) -> None:
        self._digester = Digester(self._target.algorithm if self._target else "sha256")
        self._offset = 0

    @property
    def offset(self) -> int:
        return self._offset

    @property
    def digest(self) -> Digest:
        return self._digester.digest

    @property
    def is_vacant(self) -> bool | None:
        with storage_errors():
            return self._target is None or state(self._layout.blob(self._target)) is None

    @contextmanager
    def settling(self) -> Iterator[None]:
        if self._target is None:
            yield
            return
        with wait_lock(self._layout.settle_lock(self._target), self._waiting):
            yield

    def adopt(self) -> None:
        if self._target is None or self._is_beside:
            return
        with storage_errors():
            prepare_partial(self._path)
            found = file_state(self._layout.blob(self._target))
            if found and found.st_nlink == 1:  # not a symlink, nor a file with another name, since it is going to be written
                with suppress(FileNotFoundError):
                    os.rename(self._layout.blob(self._target), self._path)

    def resume(self) -> Iterator[bytes]:
        with self.settling():  # shows the writers that wait for this ingest that only the disk delays it
            yield from self._copied() if self._is_beside else self._reread()

    def _reread(self) -> Iterator[bytes]:
        """The content of this partial."""
        with storage_errors():
            file = self._opened()
        for chunk in _chunks(file):
            self._advance(chunk)
            yield chunk

    def _copied(self) -> Iterator[bytes]:
        """The content of the partial that this one is beside, copied to this one."""
        with ExitStack() as opened:
            chunks: Iterator[bytes] = iter(())
            with storage_errors(), suppress(FileNotFoundError):
                handle = open_file(self._layout.partial(str(self._target)))
                chunks = _chunks(opened.enter_context(FileIO(handle)))
            for chunk in chunks:
                self.write(chunk)
                yield chunk

    def write(self, chunk: bytes | memoryview) -> None:
        with storage_errors():
            file = self._cut()
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
        self._advance(chunk)

    def restart(self) -> None:
        self._begin()
        if self._file is not None:
            with storage_errors():
                self._file.seek(0)

    def commit(self, digest: Digest | None = None, size: int | None = None) -> Digest:
        with timed(self._note, "commit"):
            return self._commit(digest, size)

    def _commit(self, digest: Digest | None, size: int | None) -> Digest:
        actual = self.digest
        if size is not None and size != self._offset:
            self._refuse(f"unexpected commit size {self._offset}, expected {size}")
        if digest is not None and digest != actual:
            self._refuse(f"unexpected commit digest {actual}, expected {digest}")
        self._locks.enter_context(wait_lock(self._layout.settle_lock(actual), self._waiting))
        self._publish(actual)
        return actual

    def keep(self) -> None:
        self._keep = not self._is_beside

    def close(self) -> None:
        """End the ingest: unless committed or kept, its bytes are removed."""
        with self._locks, storage_errors():
            if self._file is not None:
                self._file.close()
            if not self._published and not (self._keep and self._offset):
                remove_partial(self._path)

    def _advance(self, chunk: bytes | memoryview) -> None:
        self._digester.update(chunk)
        self._offset += len(chunk)

    def _opened(self) -> FileIO:
        if self._file is None:
            self._file = FileIO(open_partial(self._path), "r+")
        return self._file

    def _cut(self) -> FileIO:
        """The file, ready to be appended to: bytes that were not resumed are cut off."""
        file = self._opened()
        if os.fstat(file.fileno()).st_size != self._offset:
            file.truncate(self._offset)
            file.seek(self._offset)
        return file

    def _refuse(self, problem: str) -> None:
        self._keep = False
        raise InvalidContent(problem)

    @storage_errors()
    def _publish(self, digest: Digest) -> None:
        os.fsync(self._cut().fileno())
        blob = self._layout.blob(digest)
        make_folder(blob.parent)
        clear_place(self._layout, blob)
        os.rename(self._path, blob)
        self._published = True
        sync_folder(blob.parent)
        with suppress(OSError):  # the blob is published: anything else in the folder is left to the sweep of partials
            self._path.parent.rmdir()


def _chunks(file: FileIO) -> Iterator[bytes]:
    while True:
        with storage_errors():
            chunk = file.read(_CHUNK_BYTES)
        if not chunk:
            return
        yield chunk
