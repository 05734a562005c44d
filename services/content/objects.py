"""What a bucket needs from the database: which object has the bytes of a blob, and which objects may be removed.

An object is written under a location of its own, and is a blob as soon as a row names it. It is removed only after its row in the database
says that it is *doomed*; that row goes afterwards. So nothing that another process has just written is removed, whatever becomes of locks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from stowage.services.oci.digest import Digest


class ObjectRecords(Protocol):
    """Rows about objects; each call is a transaction that is committed when it returns, and raises what the database raises."""

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
