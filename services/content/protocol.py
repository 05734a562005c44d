"""Contracts of a content store, and the life of a blob.

A blob begins as an *ingest*: a partial under a key, held by one writer at a time (a lock across processes). Its bytes are written, then
`commit` checks size and digest, syncs them, and publishes the blob by one atomic rename. Only then may a row name it. So at every instant a
blob that can be opened is whole, and a row's blob can be opened; what a disk or a user changed all the same is replaced by the same rename.
Where something stands in the place of a blob that holds no bytes of the store (a folder, say), the blob is absent but has a version; that
something goes when the blob is committed or deleted.

The key of an ingest is the digest's text where the digest is known beforehand, so that two writers of one blob meet (single flight) and a
partial left by a dead process is found and continued; otherwise any unique text of lower-case letters and digits. That lock is for economy:
its holder may wait for a network as long as it likes. Who does not want to wait for it writes *beside* it, under the digest's text, a colon
and another such text.

Where file and row of a digest are brought together, or removed, there is a second lock, which only the disk and the database hold up: a
digest is *settled* from before the rename to after its row, while a file without a row is taken back, and while row and file are removed.

Every method may raise OutOfSpace or Internal where the storage fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from services.oci.digest import Digest


class Ingest(Protocol):
    """One writer's hold on a partial blob. It begins empty; `resume` takes over what an earlier writer left."""

    @property
    def offset(self) -> int:
        """Bytes of the blob so far: resumed and written."""

    @property
    def digest(self) -> Digest:
        """The digest of these bytes, by the algorithm of the key's digest, or sha256."""

    def settling(self) -> AbstractContextManager[None]:
        """Settle the key's digest while inside: what is found of its file and its row stays so. Waits for whoever settles it."""

    def adopt(self) -> None:
        """Take back a whole file as this partial; called while settling and before anything is written. Not beside another.

        Only for a digest without a row: the file of one that has a row stays until it is replaced.
        """

    def resume(self) -> Iterator[bytes]:
        """Take over the bytes that are there, in chunks of up to 1 MiB, for a caller that derives facts from the whole stream.

        They are hashed as they pass, so `offset` and `digest` grow with the iteration. One beside another takes a copy of what that has.
        Called before anything is written. Without it they are thrown away. The digest is settled meanwhile.
        """

    def write(self, chunk: bytes | memoryview) -> None:
        """Append; raises OutOfSpace."""

    def restart(self) -> None:
        """Throw away what is there and begin at offset 0."""

    def commit(self, digest: Digest | None = None, size: int | None = None) -> Digest:
        """Sync, verify and publish; returns the digest.

        With `digest` None the blob is published under its own digest. Raises InvalidContent when digest or size differ: then the
        partial is thrown away and nothing becomes visible. Publishing what is already there succeeds.
        From before the sync until the context ends the digest is settled, so that its row is there before anyone looks for it.
        """

    def keep(self) -> None:
        """Leave the partial on disk when the context ends without commit, for a later writer of the same key; never one beside another."""


class ContentStore(Protocol):
    """Blobs by digest, and the id of the store that they are of: only a database with the same id knows them."""

    def store_id(self) -> str | None:
        """The id, None until one was claimed."""

    def claim(self, store_id: str) -> str:
        """Make this the id, durably, unless there is one; returns the one that counts: of several claims at once that of the first."""

    def open(self, digest: Digest) -> BinaryIO:
        """The blob for reading, closed by the caller; raises BlobNotFound."""

    def read(self, digest: Digest) -> bytes:
        """The whole of a small blob; raises BlobNotFound."""

    def size(self, digest: Digest) -> int | None:
        """Bytes of the blob, or None where it is absent."""

    def version(self, digest: Digest) -> tuple[int, ...] | None:
        """What is equal as long as what is in the blob's place is neither replaced nor changed; None where nothing is there."""

    def ingest(self, key: str, *, waiting: Callable[[], None] = lambda: None) -> AbstractContextManager[Ingest]:
        """Hold the partial under `key`, alone. Leaving without commit throws the partial away unless `keep` was called.

        Waits for another holder, later also for whoever settles the digest, and calls `waiting` about every 50 ms meanwhile: it may raise
        to wait no longer.
        """

    def publish(self, blobs: Mapping[Digest, bytes]) -> AbstractContextManager[set[Digest]]:
        """Ingest and commit small blobs together, and settle their digests while inside; yields which were published.

        Each file is synced, but the folder only once. A blob that somebody else transfers or settles is left out: to wait for it would make
        others wait for all. Raises as `Ingest.commit` does; then none is visible.
        """

    def locked(self, digest: Digest) -> AbstractContextManager[bool]:
        """Try to settle this digest while inside; yields whether that succeeded. Never waits, so the sweep may hold many."""

    def delete(self, digest: Digest) -> None:
        """Remove the blob, or what is in its place, if it is there. The caller holds `locked(digest)` and has removed its row."""

    def blobs(self) -> Iterator[tuple[Digest, int]]:
        """Every blob and its size in bytes, in no order."""

    def modified(self, digest: Digest) -> float | None:
        """When the blob's bytes were written, in seconds since 1970, or None where it is absent; for the sweep of blobs without a row."""

    def partials(self) -> Iterator[tuple[str, int, bool]]:
        """Every partial: key, bytes, and whether a writer holds it now."""

    def partial_size(self, key: str) -> int:
        """Bytes of the partial under a key, 0 where there is none."""

    def discard_partial(self, key: str) -> int:
        """Remove a partial that no writer holds and return its bytes; 0 where it is held or gone."""
