"""The content store in a folder of the local file system; services/content/paths.py describes its layout."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from stowage.services.content.files import clear_place, file_state, open_file, state, sync_folder
from stowage.services.content.ingests import FileIngest, LocalPartials, entries, publish_all
from stowage.services.content.locks import clear_unheld, is_locked, wait_lock
from stowage.services.content.paths import DIGEST_LOCK, Layout, digest_of, locked_by
from stowage.services.content.protocol import NOWHERE, Place, Unnamed, Version
from stowage.services.errors import BlobNotFound, EngineError
from stowage.services.files import storage_errors
from stowage.services.meter import UNMETERED, StoreMeter, timed
from stowage.services.oci.digest import Digest

_CHECK_BYTES = 4096


class FilesystemStore(LocalPartials):
    """Blobs as files (services/content/protocol.py: ContentStore). Any number of processes on one machine may share a root."""

    def __init__(self, root: Path, meter: StoreMeter = UNMETERED) -> None:
        """Open the store and create missing folders."""
        super().__init__(Layout(root), meter)
        with storage_errors():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self._layout.blobs, self._layout.ingests, self._layout.locks):
                folder.mkdir(mode=0o700, exist_ok=True)
            clear_unheld(self._layout.locks, but=DIGEST_LOCK)

    def store_id(self) -> str | None:
        with storage_errors():
            try:
                return self._layout.store_id.read_text(errors="replace").strip()
            except FileNotFoundError:
                return None

    def claim(self, store_id: str) -> str:
        with wait_lock(self._layout.lock("claim")):
            claimed = self.store_id()
            if claimed is not None:
                return claimed
            _write_durably(self._layout.store_id, f"{store_id}\n")
            return store_id

    def adopt(self, store_id: str) -> None:
        """Make the folder belong to this store, whoever it belonged to."""
        _write_durably(self._layout.store_id, f"{store_id}\n")

    def check(self) -> None:
        with storage_errors():
            with os.scandir(self._layout.blobs):  # raises why it is no folder
                pass
            if not os.access(self._layout.blobs, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with self.ingest(uuid4().hex) as ingest:
            ingest.write(bytes(_CHECK_BYTES))

    def free(self) -> int:
        with storage_errors():
            found = os.statvfs(self._layout.blobs)
        return found.f_bavail * found.f_frsize

    def require_room(self, size: int) -> None:
        """A file system says at the end what it has no room for."""

    def open(self, digest: Digest) -> BinaryIO:
        with timed(self._meter.content_call, "open"), storage_errors():
            try:
                return open(self._layout.blob(digest), "rb", opener=open_file)
            except FileNotFoundError as exc:
                raise BlobNotFound(f"content {digest}: not found") from exc

    def read(self, digest: Digest) -> bytes:
        with self.open(digest) as blob, storage_errors():
            return blob.read()

    def size(self, digest: Digest) -> int | None:
        path = self._layout.blob(digest)
        found = _checked(file_state, path)
        return found.st_size if found and os.access(path, os.R_OK, effective_ids=True) else None

    def places(self, digests: Collection[Digest]) -> dict[Digest, Place]:
        return {digest: _File(self, digest, size) for digest in digests if (size := self.size(digest)) is not None}

    def version(self, digest: Digest) -> Version | None:
        found = _checked(state, self._layout.blob(digest))
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) if found else None

    def new_locations(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        return {}

    @contextmanager
    def ingest(self, key: str, *, lease: str = "", location: str = "", waiting: Callable[[], None] = lambda: None) -> Iterator[FileIngest]:
        with wait_lock(self._layout.lock(key), waiting):
            ingest = FileIngest(self._layout, key, waiting, self._meter.content_call)
            try:
                yield ingest
            finally:
                ingest.close()

    @contextmanager
    def publish(
        self, blobs: Mapping[Digest, bytes], *, lease: str = "", locations: Mapping[Digest, str] = NOWHERE
    ) -> Iterator[Mapping[Digest, str]]:
        with ExitStack() as held:
            with timed(self._meter.content_call, "publish"):
                published = held.enter_context(publish_all(self._layout, blobs))
            yield published

    def left_locked(self) -> Iterator[Digest]:
        for entry in entries(self._layout.locks):
            digest = locked_by(entry.name)
            if digest is not None and not is_locked(Path(entry.path)):
                yield digest

    def delete(self, digests: Collection[Digest]) -> dict[Digest, int]:
        sizes: dict[Digest, int] = {}
        failure: EngineError | None = None
        with timed(self._meter.content_call, "delete"):
            for digest in sorted(digests):
                try:
                    size = self._delete(digest)
                except EngineError as exc:
                    failure = exc
                else:
                    sizes |= {} if size is None else {digest: size}
            if failure:
                raise failure
        for size in sizes.values():
            self._meter.removed(size)
        return sizes

    def remove_doomed(self) -> int:
        return 0

    def unnamed(self, grace: int) -> Iterator[Unnamed]:
        return iter(())

    def remove_unnamed(self, found: Iterable[Unnamed]) -> int:
        return 0

    def blobs(self) -> Iterator[tuple[Digest, int]]:
        for folder in filter(os.DirEntry.is_dir, entries(self._layout.blobs)):
            for entry in entries(Path(folder)):
                digest = digest_of(folder.name, entry.name)
                size = self.size(digest) if digest else None
                if digest is not None and size is not None:
                    yield digest, size

    def modified(self, digest: Digest) -> float | None:
        found = _checked(file_state, self._layout.blob(digest))
        return found.st_mtime if found else None

    @storage_errors()
    def _delete(self, digest: Digest) -> int | None:
        size = self.size(digest)
        clear_place(self._layout, self._layout.blob(digest))
        self._layout.blob(digest).unlink(missing_ok=True)
        return size


@dataclass(frozen=True, slots=True)
class _File:
    """The place of a blob in a folder."""

    store: FilesystemStore
    digest: Digest
    size: int

    def read(self) -> bytes:
        return self.store.read(self.digest)


def _write_durably(path: Path, text: str) -> None:
    """Write a small file atomically: it exists with all of its text or not at all."""
    new = path.with_suffix(".new")
    with storage_errors():
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, path)
        sync_folder(path.parent)


@storage_errors()
def _checked(look: Callable[[Path], os.stat_result | None], path: Path) -> os.stat_result | None:
    return look(path)
