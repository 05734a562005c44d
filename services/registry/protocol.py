"""Contracts of the registry client: what a pull needs of a remote repository.

Errors are the engine's own, in Docker's words: NotFound, Unauthorized, Forbidden, Unsupported, Unavailable, ResourceExhausted,
InvalidContent, and RegistryFailure where the connection fails or the answer has no meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from services.oci.descriptor import Descriptor
from services.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class Credentials:
    """What X-Registry-Auth carries; its repr shows none of it."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    server_address: str = field(default="", repr=False)

    @property
    def secret(self) -> str:
        """Whichever secret there is; empty for an anonymous client."""
        return self.registry_token or self.identity_token or self.password


class BlobStream(Protocol):
    """The rest of a blob. Iterating yields chunks of up to 1 MiB, verified by the caller; raises RegistryFailure when the connection breaks."""

    @property
    def offset(self) -> int:
        """Where the stream really begins: the offset asked for, or 0 from a registry without ranges."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """End the transfer now, from any thread."""


class Repository(Protocol):
    """One repository of one registry, for one operation."""

    def tags(self) -> list[str]:
        """Every tag, in the registry's order, all pages."""

    def resolve(self, reference: Reference) -> Descriptor:
        """What the reference's digest, or else its tag, names now; costs one HEAD where the registry sends Docker-Content-Digest."""

    def manifest(self, descriptor: Descriptor) -> bytes:
        """A manifest or index by digest, size and digest verified."""

    def blob(self, descriptor: Descriptor, *, offset: int = 0) -> BlobStream:
        """Begin to fetch a blob at `offset` bytes."""


class Registry(Protocol):
    """All registries."""

    def repository(
        self, reference: Reference, *, credentials: Credentials | None = None, headers: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Repository]:
        """Open the repository of this reference; `headers` (X-Meta-*) go along with every request to its registry."""
