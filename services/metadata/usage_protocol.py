"""The contract of what the page shows of the disk: who uses which bytes, counted by the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import DANGLING_PREFIX, name_forms


@dataclass(frozen=True, slots=True)
class Amount:
    """How many blobs, and their bytes."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class BlobAmounts:
    """The blobs of the store by how many images use them: none, one, or several."""

    unused: Amount
    unique: Amount
    shared: Amount


@dataclass(frozen=True, slots=True)
class RepositoryUse:
    """How many images have their first name in a repository, and the bytes that only one image has, of all of these. Images without a
    name are in the repository with the empty name.
    """

    repository: str
    images: int
    unique: int


@dataclass(frozen=True, slots=True)
class UsedBlob:
    """A blob, its bytes, and how many images use it."""

    digest: Digest
    size: int
    users: int


class Relative(NamedTuple):
    """A target as a family has it: the texts of its digest and of the digest of the manifest that describes it, its first name, and its
    bytes.
    """

    id: int
    digest: str
    shown: str
    first_name: str
    size: int

    @property
    def name(self) -> str:
        """This name as Docker shows it, empty if it has none."""
        return "" if self.first_name.startswith(DANGLING_PREFIX) else name_forms(self.first_name)[0]


@dataclass(frozen=True, slots=True)
class Chain:
    """The layers of an image as the hashes of what they give together: of the first, of the first two, and so on, and the stored bytes of
    as many. Images that begin with the same layers have equal hashes for them.
    """

    hashes: Sequence[int]
    sizes: Sequence[int]


class Usage(Protocol):
    """Who uses which blobs. A blob is used by the targets that reach it."""

    def amounts(self) -> BlobAmounts: ...

    def repositories(self, limit: int) -> list[RepositoryUse]:
        """Those with the most unique bytes, the largest first."""

    def shared_blobs(self, limit: int) -> list[UsedBlob]:
        """The largest blobs that several images use, the largest first."""

    def holdings(self, targets: Iterable[Digest]) -> dict[Digest, Mapping[Digest, int]]:
        """The present blobs that each of these targets reaches, itself included, with their bytes."""

    def users(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """How many targets use each of these blobs that is present."""

    def leased(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these a lease that has not expired keeps: those that it names, and what is below them."""

    def users_of(self, digest: Digest, *, limit: int, offset: int = 0) -> list[int]:
        """The ids of targets that use this blob, ordered by first name; there are as many as `users` says."""

    def some_users(self, digest: Digest, limit: int) -> list[int]:
        """The ids of a few targets that use this blob, in no particular order, at a cost that does not depend on how many do. Of a blob
        that very many manifests contain, there may be fewer than could be.
        """

    def relatives(self, *, of: Iterable[int] | None = None, most: int | None = None) -> list[Relative]:
        """Every target that is described by a present manifest, or at most so many of them.

        With ids of targets, those that can be relatives of one of these: they have a layer that is the first one of it.
        """

    def chains(self, manifests: Iterable[str]) -> dict[str, Chain]:
        """The layers of each of these manifests that has any."""
