"""Where the blobs of a store are copied to: a folder or a bucket that has none.

Until the copy is complete, the target is marked as an unfinished copy instead of with the id of the store. So no database accepts it, and
the next try knows that the blobs in it are its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Protocol

from stowage.services.content.bucket import PART_BYTES, Bucket
from stowage.services.content.bucket_mark import create_mark, read_mark, write_mark
from stowage.services.content.filesystem import FilesystemStore
from stowage.services.content.object_ingest import BLOBS, MOST_OBJECT_BYTES
from stowage.services.content.paths import digest_of
from stowage.services.errors import Conflict, OutOfSpace
from stowage.services.oci.digest import Digest

_UNFINISHED = "unfinished copy of "


class CopyTarget(Protocol):
    """A folder or a bucket; raises what a content store raises."""

    def mark(self) -> str | None:
        """The id of the store whose blobs are here, or whose copy is unfinished; None without one. Creates nothing."""

    def create_mark(self, text: str, owner: str) -> None:
        """Write the mark unless there is one; `owner` names the database."""

    def write_mark(self, text: str, owner: str) -> None:
        """Write the mark, whatever it was before."""

    def present(self) -> dict[Digest, int]:
        """Every blob that is here, and its size. Creates nothing."""

    def location(self, digest: Digest) -> str:
        """The location that the row of this blob has when it is copied."""

    def put(self, digest: Digest, size: int, parts: Iterator[bytes]) -> None:
        """Write a blob, which appears when the iterator has ended. If that raises, nothing appears."""


class FolderTarget:
    """Implements CopyTarget in a folder, which the first write makes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def mark(self) -> str | None:
        return self._store.store_id() if self._root.exists() else None

    def create_mark(self, text: str, owner: str) -> None:
        self._store.claim(text)

    def write_mark(self, text: str, owner: str) -> None:
        self._store.adopt(text)

    def present(self) -> dict[Digest, int]:
        return dict(self._store.blobs()) if self._root.exists() else {}

    def location(self, digest: Digest) -> str:
        return ""

    def put(self, digest: Digest, size: int, parts: Iterator[bytes]) -> None:
        with self._store.ingest(str(digest)) as ingest:
            for part in parts:
                ingest.write(part)
            ingest.commit(digest, size)

    @cached_property
    def _store(self) -> FilesystemStore:
        return FilesystemStore(self._root)


class BucketTarget:
    """Implements CopyTarget in a bucket. An object gets its location from the digest, so that the next try finds it again."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def mark(self) -> str | None:
        found = read_mark(self._bucket)
        return found[0] if found else None

    def create_mark(self, text: str, owner: str) -> None:
        create_mark(self._bucket, text, owner)

    def write_mark(self, text: str, owner: str) -> None:
        write_mark(self._bucket, text, owner)

    def present(self) -> dict[Digest, int]:
        found: dict[Digest, int] = {}
        for page in self._bucket.list(BLOBS):
            for each in page:
                algorithm, _, encoded = each.location.removeprefix(f"{BLOBS}/").partition("-")
                digest = digest_of(algorithm, encoded)
                if digest is None:
                    raise Conflict(f"there are objects of another store in the bucket below {self._bucket.address}")
                found[digest] = each.size
        return found

    def location(self, digest: Digest) -> str:
        return f"{BLOBS}/{digest.algorithm}-{digest.hex}"

    def put(self, digest: Digest, size: int, parts: Iterator[bytes]) -> None:
        if size > MOST_OBJECT_BYTES:
            raise OutOfSpace(f"blob {digest} has {size} bytes; in a bucket it may have at most {MOST_OBJECT_BYTES}")
        if size <= PART_BYTES:
            self._bucket.put(self.location(digest), b"".join(parts))
        else:
            with ThreadPoolExecutor(1, thread_name_prefix="parts") as reader:
                self._bucket.put_parts(self.location(digest), _read_by(reader, parts))


def _read_by(reader: ThreadPoolExecutor, parts: Iterator[bytes]) -> Iterator[bytes]:
    """The parts, read in another thread: obstore asks for them where it cannot itself be asked to read from a bucket."""
    while part := reader.submit(next, parts, b"").result():
        yield part


def is_unfinished(mark: str | None) -> bool:
    """Whether this mark is that of an unfinished copy."""
    return mark is not None and mark.startswith(_UNFINISHED)


def find_copied(target: CopyTarget, store_id: str) -> dict[Digest, int] | None:
    """What an earlier try has copied of this store; None if there was none. Raises Conflict if the target is not empty."""
    mark = target.mark()
    if mark not in (None, _UNFINISHED + store_id):
        raise Conflict("there is a store where --to-content says, or the unfinished copy of another one")
    present = target.present()
    if mark is None and present:
        raise Conflict("there are blobs where --to-content says, and it is not known whose they are")
    return None if mark is None else present


def begin_copy(target: CopyTarget, store_id: str, owner: str) -> None:
    """Mark the target as an unfinished copy; raises Conflict if somebody else has marked it just now."""
    target.create_mark(_UNFINISHED + store_id, owner)
    if target.mark() != _UNFINISHED + store_id:
        raise Conflict("there is a store where --to-content says")


def finish_copy(target: CopyTarget, store_id: str, owner: str) -> None:
    """Make the target the content of this store in this database."""
    target.write_mark(store_id, owner)
