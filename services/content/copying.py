"""Copying the blobs of a store: each is read once, hashed on the way, and appears in the target only if it is whole.

The target is a folder or a bucket that has no blobs. Until the copy is complete, it is marked as an unfinished copy instead of with the id
of the store. So no database accepts it, and the next try knows that the blobs in it are its own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Protocol

from stowage.services.content.bucket import PART_BYTES, Bucket, create_mark, read_mark, write_mark
from stowage.services.content.bucket_errors import Denied
from stowage.services.content.filesystem import FilesystemStore
from stowage.services.content.object_ingest import BLOBS, MOST_OBJECT_BYTES
from stowage.services.content.paths import digest_of
from stowage.services.content.protocol import ContentStore
from stowage.services.errors import BlobNotFound, Conflict, EngineError, InvalidContent, OutOfSpace, Unavailable
from stowage.services.files import storage_errors
from stowage.services.oci.digest import Digest, Digester
from stowage.services.progress import Advance

_SHOW_SECONDS = 0.2


def copy_blobs(
    source: ContentStore, target: CopyTarget, blobs: Mapping[Digest, int], copied: Mapping[Digest, int], *, at_once: int, advance: Advance
) -> Iterator[str]:
    """Copy these blobs, of these sizes, unless they are in `copied` with the right one; yields a sentence for each that is damaged.

    Sends `at_once` blobs at a time, each with a few parts of 8 MiB in memory. `advance` is called with bytes, by this thread. Raises
    what the target raises, and what a bucket raises that cannot be read for a while; then the other blobs are given up too.
    """
    missing = iter([(digest, size) for digest, size in sorted(blobs.items()) if copied.get(digest) != size])
    total = sum(blobs.values())
    run = _Run(source, target, sum(size for digest, size in blobs.items() if copied.get(digest) == size))
    running: set[Future[str]] = set()
    with ThreadPoolExecutor(at_once, thread_name_prefix="copy") as threads:
        try:
            while True:
                while len(running) < at_once and (blob := next(missing, None)):
                    running.add(threads.submit(run.copy, *blob))
                if not running:
                    return
                ended, running = wait(running, _SHOW_SECONDS, FIRST_COMPLETED)
                advance(min(run.done, total), total)
                yield from filter(None, [each.result() for each in ended])
        finally:
            run.is_given_up = True


class _GivenUp(Exception):
    """Another blob could not be copied, or the command is to end."""


class _Run:
    """State shared by the threads of one copy: `done` is the number of copied bytes."""

    def __init__(self, source: ContentStore, target: CopyTarget, done: int) -> None:
        self._source, self._target = source, target
        self._counting = Lock()
        self.done = done
        self.is_given_up = False

    def copy(self, digest: Digest, size: int) -> str:
        """Copy a blob; returns what is wrong with it, if anything is."""
        problems: list[str] = []
        with closing(self._parts(digest, size, problems)) as parts:
            try:
                self._target.put(digest, size, parts)
            except Exception:
                if not problems:
                    raise
        return "".join(problems)

    def _parts(self, digest: Digest, size: int, problems: list[str]) -> Generator[bytes]:
        """The bytes of a blob. Raises, and notes a problem, if they are not those that its digest and size promise."""
        try:
            yield from self._verified(digest, size)
        except (Unavailable, Denied):
            raise
        except BlobNotFound:
            problems.append(f"blob {digest} is missing")
            raise
        except InvalidContent as exc:
            problems.append(f"blob {digest} {exc}")
            raise
        except EngineError as exc:
            problems.append(f"blob {digest} cannot be read: {exc}")
            raise

    def _verified(self, digest: Digest, size: int) -> Iterator[bytes]:
        digester, length = Digester(digest.algorithm), 0
        with self._source.open(digest) as file:
            while part := _read(file):
                if self.is_given_up:
                    raise _GivenUp
                digester.update(part)
                length += len(part)
                if length > size:
                    break
                with self._counting:
                    self.done += len(part)
                yield part
        if length != size:
            raise InvalidContent(f"has {'at least ' if length > size else ''}{length} bytes instead of {size}")
        if digester.digest != digest:
            raise InvalidContent(f"has other bytes: their digest is {digester.digest}")


@storage_errors()
def _read(file: BinaryIO) -> bytes:
    return file.read(PART_BYTES)


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
