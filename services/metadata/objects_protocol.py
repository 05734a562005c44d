"""The contract of the rows about objects in a bucket."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from stowage.services.oci.digest import Digest


class Objects(Protocol):
    """Which object has the bytes of a blob, which are being written, and which are to be removed. A location is used once.

    An *intent* names an object that is being written under a lease: recording the blob consumes it, and the end of the lease dooms the
    object. An object is also *doomed* in the transaction that removes the row of its blob or gives it another location.
    """

    def locations(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """The location of each of these blobs that has a row; empty if its bytes are in a file of its digest."""

    def digests(self, locations: Iterable[str]) -> dict[str, Digest]:
        """The blobs that have these locations."""

    def sizes(self) -> dict[Digest, int]:
        """Every blob that has a location, and its size."""

    def named(self, locations: Collection[str]) -> set[str]:
        """Which of these locations a blob, an intent or a doomed row has."""

    def intend(self, lease: str, locations: Collection[str]) -> None:
        """Record that these objects are going to be written; raises Internal for a lease that has ended."""

    def doomed(self, *, age: int, limit: int) -> list[tuple[str, int]]:
        """Objects that have been doomed for at least `age` seconds, and their sizes, 0 if unknown; the first ones first."""

    def doomed_of(self, digests: Iterable[Digest]) -> list[tuple[str, Digest, int, int]]:
        """Doomed objects of these blobs: location, digest, size, and for how many seconds they have been doomed."""

    def forget(self, locations: Iterable[str]) -> None:
        """Remove the doomed rows of objects that were removed."""
