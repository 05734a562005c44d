"""Writes to a folder: the partial of one writer, small blobs that are published together, and the list of all partials.

A partial is appended and hashed, then published by a rename. Of small blobs each file is synced, but their folder only once, and they share
one ingest folder. All of their files are written before the first is synced, so that a journaling file system commits its journal once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from uuid import uuid4

from stowage.services.content.files import (
    clear_place,
    file_state,
    make_folder,
    open_partial,
    partial_bytes,
    prepare_partial,
    remove_partial,
    sync_folder,
)
from stowage.services.content.locks import is_locked, try_lock, wait_lock
from stowage.services.content.paths import Layout, key_of, target_of
from stowage.services.errors import InvalidContent
from stowage.services.files import storage_errors
from stowage.services.meter import Note, StoreMeter, timed
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

    @contextmanager
    def locking(self) -> Iterator[None]:
        if self._target is None:
            yield
            return
        with wait_lock(self._layout.digest_lock(self._target), self._waiting):
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
        with self.locking():  # shows the writers that wait for this ingest that only the disk delays it
            yield from self._reread()

    def _reread(self) -> Iterator[bytes]:
        """The content of this partial."""
        with storage_errors():
            file = self._opened()
        for chunk in _chunks(file):
            self._advance(chunk)
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
        self._locks.enter_context(wait_lock(self._layout.digest_lock(actual), self._waiting))
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


@contextmanager
def publish_all(layout: Layout, blobs: Mapping[Digest, bytes]) -> Iterator[dict[Digest, str]]:
    """Publish the blobs whose locks are free, and lock them while inside (services/content/protocol.py: ContentStore.publish)."""
    key = uuid4().hex
    with wait_lock(layout.lock(key)), ExitStack() as held:
        free = {
            digest: content
            for digest, content in blobs.items()
            if held.enter_context(try_lock(layout.lock(str(digest)))) and held.enter_context(try_lock(layout.digest_lock(digest)))
        }
        try:
            _write(layout, key, free)
            _rename(layout, key, free)
        finally:
            with storage_errors():
                remove_partial(layout.partial(key))
        yield dict.fromkeys(free, "")


@storage_errors()
def _write(layout: Layout, key: str, blobs: Mapping[Digest, bytes]) -> None:
    layout.partial(key).parent.mkdir(mode=0o700)
    with ExitStack() as opened:
        files: list[int] = []
        for digest, content in blobs.items():
            check_content(digest, content)
            handle = os.open(layout.member(key, digest), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            file = opened.enter_context(os.fdopen(handle, "wb"))
            file.write(content)
            file.flush()
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)  # makes Linux begin to write the file to disk, without waiting for it
            files.append(handle)
        for handle in files:
            os.fsync(handle)


def check_content(digest: Digest, content: bytes) -> None:
    """Raise InvalidContent if the content has another digest."""
    actual = Digest.of(content, digest.algorithm)
    if actual != digest:
        raise InvalidContent(f"unexpected commit digest {actual}, expected {digest}")


@storage_errors()
def _rename(layout: Layout, key: str, blobs: Mapping[Digest, bytes]) -> None:
    folders = {layout.blob(digest).parent for digest in blobs}
    for folder in folders:
        make_folder(folder)
    for digest in blobs:
        remove_partial(layout.partial(str(digest)))
        clear_place(layout, layout.blob(digest))
        os.rename(layout.member(key, digest), layout.blob(digest))
    for folder in folders:
        sync_folder(folder)


class LocalPartials:
    """The common part of a content store in a folder and one in a bucket."""

    def __init__(self, layout: Layout, meter: StoreMeter) -> None:
        self._layout, self._meter = layout, meter

    def locked(self, digest: Digest) -> AbstractContextManager[bool]:
        return try_lock(self._layout.digest_lock(digest))

    def exclusive(self, name: str) -> AbstractContextManager[bool]:
        return try_lock(self._layout.lock(name))

    def partials(self) -> Iterator[tuple[str, int, bool]]:
        for folder in entries(self._layout.ingests):
            key = key_of(folder.name)
            if key is not None:
                with storage_errors():
                    size = partial_bytes(self._layout.partial(key))
                yield key, size, is_locked(self._layout.lock(key))

    def partial_size(self, key: str) -> int:
        with storage_errors():
            found = file_state(self._layout.partial(key))
        return found.st_size if found else 0

    def discard_partial(self, key: str) -> int:
        with try_lock(self._layout.lock(key)) as held, storage_errors():
            size = remove_partial(self._layout.partial(key)) if held else 0
        if size:
            self._meter.removed(size)
        return size


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with storage_errors(), os.scandir(folder) as found:
        yield from found
