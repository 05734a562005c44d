"""The contract of the leases in the metadata store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from stowage.services.oci.digest import Digest


class Leases(Protocol):
    """Leases. Times are seconds from now, by the database's clock.

    `require`, `add` and `renew` raise Internal for a lease that has ended.
    """

    def create(self, note: str, *, alive: int, expires: int) -> str:
        """A new lease's id; it counts as running for `alive` seconds after each renewal and holds its blobs for `expires`.

        With 0 for `alive` its holder has abandoned it.
        """

    def fill(self, lease: str, digests: Iterable[Digest], locations: Iterable[str]) -> None:
        """What a lease of this very transaction holds, and the objects that are going to be written under it: see `Objects.intend`."""

    def require(self, lease: str) -> None: ...

    def add(self, lease: str, digests: Iterable[Digest]) -> None: ...

    def renew(self, lease: str, *, alive: int, expires: int) -> None: ...

    def digests(self, lease: str) -> set[Digest]: ...

    def held(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these an unexpired lease names; blobs that are only reachable from a named one are not included."""

    def end(self, lease: str) -> tuple[set[Digest], bool]:
        """End it, if it has not ended yet; returns what it held, and whether there may be expired leases or doomed objects to remove."""

    def have_expired(self) -> bool:
        """Whether any lease has expired."""

    def end_expired(self, *, limit: int) -> set[Digest]:
        """End expired leases, at most `limit`, in the order in which they expired; returns what they held."""

    def end_abandoned(self, *, limit: int, grace: int) -> bool:
        """End leases that expired, were abandoned, or are late, at most `limit`; returns whether there may be more.

        A lease is late if it was not renewed in time. Its holder may have been cut off from the database, so it is not ended before
        `grace` seconds have passed since the first call that found it late, unless it is renewed.
        """
