"""The contract of kept lists of what is in layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from stowage.services.oci.digest import Digest


class LayerFiles(Protocol):
    """Lists of what is in layers, as services/archive/file_list.py dumps them; what is not kept is read again from the blob."""

    def get(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        """The lists that are kept of these blobs, without those that were damaged."""

    def put(self, digest: Digest, kept: bytes, now: int, *, most: int) -> bool:
        """Keep the list of a blob that is present, instead of an older one; the oldest others are removed until all count at most `most`
        bytes. Returns whether it is kept: not if it alone is larger.
        """

    def has(self, digest: Digest) -> bool:
        """Whether there is a list of this blob, be it damaged."""

    def digests(self, after: Digest | None) -> list[Digest]:
        """Some blobs that have a list, in the order of their digests, after this one; none at the end."""

    def remove(self, digests: Iterable[Digest]) -> None:
        """Remove the lists of these blobs; they are read again when somebody looks."""

    def bytes(self) -> int:
        """How many bytes all of them count."""
