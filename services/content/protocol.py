"""Contracts of a content store, and the life of a blob.

A blob begins as an *ingest*: a partial under a key, held by one writer at a time (a lock across processes). Its bytes are written, then
`commit` checks size and digest, syncs them, and publishes the blob by one atomic rename. Only then may a row name it. So at every instant a
blob that can be opened is whole, and a row's blob can be opened. A file that a disk or a user has changed is replaced by the same rename.
If something that is not a file of the store, such as a folder, is in the place of a blob, the blob is absent but has a version. It is
removed when the blob is committed or deleted.

If the digest is known beforehand, the key of an ingest is the digest's text. So two writers of one blob wait for each other, and a partial
left by a dead process is found and continued. Otherwise the key is any unique text of lower-case letters and digits. This lock only saves
work: its holder may wait for a network as long as it likes. A writer that does not wait for it writes a partial of its own, *beside* the
first: its key is the digest's text, a colon and another such text.

A second lock is held while the file and the row of a digest are created or removed. Its holder waits only for the disk and the database. A
digest is *locked* from before the rename to after its row, while a file without a row is taken back, and while row and file are removed.

In a bucket, a blob is an object with a *location* of its own, which its row names. Objects are never replaced, and an object without a row
is not a blob; see `ObjectRecords`. Locking then only saves work.

Every method may raise OutOfSpace or Internal if the storage fails, and Unavailable if it cannot be reached for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from stowage.services.oci.digest import Digest

Version = tuple[int | str, ...]
"""What distinguishes the bytes that are in the place of a blob from those that are there later."""


NOWHERE: Mapping[Digest, str] = {}
"""No locations."""


def location_of(version: Version | None) -> str:
    """The location in the version of a blob in a bucket; empty for that of a file."""
    return version[0] if version and isinstance(version[0], str) else ""


class Ingest(Protocol):
    """One writer's hold on a partial blob. It begins empty; `resume` takes over what an earlier writer left."""

    @property
    def offset(self) -> int:
        """Bytes of the blob so far, both resumed and written."""

    @property
    def digest(self) -> Digest:
        """The digest of these bytes, by the algorithm of the key's digest, or sha256."""

    @property
    def location(self) -> str:
        """The location of the committed blob, which its row gets; empty in a folder."""

    def locking(self) -> AbstractContextManager[None]:
        """Lock the key's digest while inside: its file and its row do not change. Waits for any other holder."""

    def adopt(self) -> None:
        """Take back a complete file as this partial; called while the digest is locked and before anything is written. Not beside another.

        Only for a digest without a row: the file of a digest with a row stays until it is replaced.
        """

    def resume(self) -> Iterator[bytes]:
        """Take over the existing bytes, in chunks of up to 1 MiB, for a caller that derives facts from the whole stream.

        They are hashed as they are read, so `offset` and `digest` advance with the iteration. Called before anything is
        written; otherwise the bytes are thrown away. The digest is locked during the iteration.
        """

    def write(self, chunk: bytes | memoryview) -> None:
        """Append; raises OutOfSpace."""

    def restart(self) -> None:
        """Throw away the existing bytes and begin at offset 0."""

    def commit(self, digest: Digest | None = None, size: int | None = None) -> Digest:
        """Sync, verify and publish; returns the digest.

        With `digest` None the blob is published under its own digest. Raises InvalidContent if digest or size differ: then the
        partial is thrown away and nothing becomes visible. Publishing a blob that already exists succeeds.
        The digest is locked from before the sync until the context ends, so that its row exists before anyone looks for it.
        """

    def keep(self) -> None:
        """Leave the partial on disk when the context ends without commit, for a later writer of the same key; never one beside another."""


@dataclass(frozen=True, slots=True)
class Unnamed:
    """An object or an unfinished upload of a bucket that no row names. `upload` is the id of an upload, whose size is not known.

    What could not be looked at has no location: the sentence says what it is.
    """

    location: str
    size: int = 0
    upload: str = ""
    sentence: str = ""


class Place(Protocol):
    """The place of a blob."""

    @property
    def size(self) -> int:
        """Its size in bytes when it was asked for."""

    def read(self) -> bytes:
        """As `ContentStore.read`."""


class ContentStore(Protocol):
    """Blobs by digest, and the id of their store: only a database with the same id knows them."""

    def store_id(self) -> str | None:
        """The id, None until one is claimed."""

    def claim(self, store_id: str) -> str:
        """Make this the id, durably, unless there is one; returns the id of the store. If several claim at once, the first wins."""

    def check(self) -> None:
        """Raise what a writer of a blob would get now; writes a little, syncs nothing, and leaves nothing behind."""

    def free(self) -> int:
        """Bytes that this process may still write."""

    def require_room(self, size: int) -> None:
        """Raise OutOfSpace if a blob of this size could not be stored even if nothing else were."""

    def open(self, digest: Digest) -> BinaryIO:
        """The blob for reading, closed by the caller; raises BlobNotFound."""

    def read(self, digest: Digest) -> bytes:
        """The whole of a small blob; raises BlobNotFound."""

    def size(self, digest: Digest) -> int | None:
        """Size of the blob in bytes, or None if it is absent or cannot be read by this process."""

    def places(self, digests: Collection[Digest]) -> Mapping[Digest, Place]:
        """The places of those of these blobs whose size `size` finds; in a bucket they are asked for several at once."""

    def version(self, digest: Digest) -> Version | None:
        """A value that stays equal until whatever is in the blob's place is replaced or changed; None if nothing is there.

        In a bucket it begins with the location, and is no more than that if the object is gone.
        """

    def new_locations(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """Locations for objects that are going to be written; none in a folder."""

    def ingest(
        self, key: str, *, lease: str = "", location: str = "", waiting: Callable[[], None] = lambda: None
    ) -> AbstractContextManager[Ingest]:
        """Hold the partial under `key`, exclusively. Leaving without commit throws the partial away unless `keep` was called.

        A bucket needs the id of the lease under which the blob is going to be recorded; a `location` has its intent already.

        Waits for another holder, and later for whoever has locked the digest. Calls `waiting` about every 50 ms while waiting; it may raise
        to stop waiting.
        """

    def publish(
        self, blobs: Mapping[Digest, bytes], *, lease: str = "", locations: Mapping[Digest, str] = ...
    ) -> AbstractContextManager[Mapping[Digest, str]]:
        """Ingest and commit small blobs together, and lock their digests while inside; yields the locations of those published.

        Each file is synced, but the folder only once. A blob that is being transferred or locked elsewhere is left out: waiting for it
        would make others wait for all of them. Raises InvalidContent if a digest differs; then none is visible.
        """

    def locked(self, digest: Digest) -> AbstractContextManager[bool]:
        """Try to lock this digest while inside; yields whether that succeeded. Never waits, so the sweep may hold many."""

    def left_locked(self) -> Iterator[Digest]:
        """The digests that a process was locking when it was killed: their file may have no row. One that is locked again is left out."""

    def exclusive(self, name: str) -> AbstractContextManager[bool]:
        """Try to hold the lock of this name, which belongs to no blob, on this node; yields whether that succeeded. Never waits."""

    def delete(self, digests: Collection[Digest]) -> dict[Digest, int]:
        """Remove these blobs, or whatever is in their place; returns the size of each that was there, 0 if its bytes are kept for a while.

        The caller holds `locked` for each and has removed its row. If some cannot be removed, raises the error of one after the others.
        """

    def remove_doomed(self) -> int:
        """Remove the objects that their rows doom, and return their bytes; in a folder there are none."""

    def unnamed(self, grace: int) -> Iterator[Unnamed]:
        """What is in a bucket without any row that names it, since `grace` seconds at least, as far as can be seen; none in a folder."""

    def remove_unnamed(self, found: Iterable[Unnamed]) -> int:
        """Remove these, and return their bytes."""

    def blobs(self) -> Iterator[tuple[Digest, int]]:
        """Every blob and its size in bytes, in no particular order."""

    def modified(self, digest: Digest) -> float | None:
        """When the blob's bytes were written, in seconds since 1970, or None if it is absent; for the sweep of blobs without a row."""

    def partials(self) -> Iterator[tuple[str, int, bool]]:
        """Every partial: its key, its size in bytes, and whether a writer holds it now."""

    def partial_size(self, key: str) -> int:
        """Size in bytes of the partial under a key, 0 if there is none."""

    def discard_partial(self, key: str) -> int:
        """Remove a partial that no writer holds and return its size in bytes; 0 if it is held or does not exist."""


class ObjectRecords(Protocol):
    """The database of a bucket: the object that has the bytes of a blob, and the objects that may be removed.

    An object is written under a location of its own, and is a blob as soon as a row names it. It is removed only after its row in the
    database says that it is *doomed*; that row goes afterwards. So nothing that another process has just written is removed, whatever
    becomes of locks. Each call is a transaction that is committed when it returns, and raises what the database raises.
    """

    def locations(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """The location of each of these blobs that has a row; empty if its bytes are in a file."""

    def blobs(self) -> Iterator[tuple[Digest, int]]:
        """Every blob that has a location, and its size."""

    def named(self, locations: Collection[str]) -> set[str]:
        """Which of these locations a blob, an intent or a doomed row has."""

    def intend(self, lease: str, locations: Collection[str]) -> None:
        """Record that these objects are going to be written; raises Internal for a lease that has ended."""

    def doomed(self, *, age: int, limit: int) -> list[tuple[str, int]]:
        """Objects that have been doomed for at least `age` seconds, and their sizes, 0 if unknown."""

    def doomed_of(self, digests: Iterable[Digest]) -> list[tuple[str, Digest, int, int]]:
        """Doomed objects of these blobs: location, digest, size, and for how many seconds they have been doomed."""

    def forget(self, locations: Iterable[str]) -> None:
        """Remove the doomed rows of objects that were removed."""
