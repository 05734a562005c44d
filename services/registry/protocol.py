"""Contracts of the registry client: what a pull and a push need of a remote repository.

Errors are the engine's own, in Docker's words: NotFound, Unauthorized, Forbidden, Unsupported, Unavailable, ResourceExhausted,
InvalidContent, and RegistryFailure if the connection fails or the answer makes no sense.

Every call may wait for a server. Calls made in an operation (services/registry/operations.py) end when it is cancelled.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class Credentials:
    """The content of X-Registry-Auth; the repr shows none of it."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    server_address: str = field(default="", repr=False)

    @property
    def secret(self) -> str:
        """The secret, whichever kind it is; empty for an anonymous client."""
        return self.registry_token or self.identity_token or self.password

    @property
    def basic(self) -> str:
        """Name and password as basic authentication sends them; empty unless both are set."""
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode() if self.username and self.password else ""


@dataclass(frozen=True, slots=True)
class FoundRepository:
    """What an index says about a repository."""

    name: str
    description: str
    stars: int
    is_official: bool


class BlobStream(Protocol):
    """The rest of a blob. Iterating yields chunks of up to 1 MiB, verified by the caller; raises RegistryFailure when the connection
    breaks.
    """

    @property
    def offset(self) -> int:
        """Where the stream actually begins: the offset asked for, or 0 from a registry without ranges."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """End the transfer now, from any thread."""


class Repository(Protocol):
    """One repository of one registry, for one operation."""

    def tags(self, keep: Callable[[int], None] = lambda _: None) -> list[str]:
        """Every tag of all pages, in the registry's order; names that do not fit the grammar of tags are left out.

        `keep` is called with the bytes of memory that a page takes, before it takes them, and with a negative number for what is no longer
        kept of it. It may raise to end the list.
        """

    def resolve(self, reference: Reference) -> Descriptor:
        """What the reference's digest, or else its tag, names now; costs one HEAD if the registry sends Docker-Content-Digest."""

    def manifest(self, descriptor: Descriptor) -> bytes:
        """A manifest or index by digest; its size and digest are verified."""

    def read(self, reference: Reference) -> tuple[Descriptor, bytes]:
        """What the reference's digest, or else its tag, names now, with its bytes, verified; costs one GET.

        A refusal is reported in the registry's own words.
        """

    def blob(self, descriptor: Descriptor, *, offset: int = 0) -> BlobStream:
        """Begin to fetch a blob from `offset` bytes on."""

    def suspect(self, descriptor: Descriptor) -> None:
        """The bytes of this blob arrive too slowly: ask another host first for the rest, if there is one."""

    def distrust(self, descriptor: Descriptor) -> bool:
        """The bytes received for this blob are wrong: ask another host for it from now on; returns whether there is one."""


class OpenBlob(Protocol):
    """An open blob on its way to a repository; it raises Damaged instead of giving its last bytes if the others are not the blob's."""

    def seek(self, offset: int, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


class Upload(Protocol):
    """One blob on its way to a repository."""

    @property
    def offset(self) -> int:
        """How many bytes the registry had when the last try began."""

    def proceed(self) -> bool:
        """Try to send what is missing; returns whether the registry took the blob from its other repository instead.

        After a failure with `retry_after` set, another try continues from what the registry has, or starts again if it has forgotten.
        """


class Destination(Protocol):
    """One repository of one registry that is pushed to, for one operation. Its methods raise Unauthorized if access is denied.

    Usable from several threads after its first answer.
    """

    def has_manifest(self, manifest: Descriptor, *, tag: str | None = None) -> bool:
        """Whether the registry has this manifest or index, under this tag if one is given."""

    def has_blob(self, blob: Descriptor) -> bool: ...

    def upload(
        self, blob: Descriptor, content: Callable[[], AbstractContextManager[OpenBlob]], *, mount_from: str, advance: Callable[[int], None]
    ) -> Upload:
        """Prepare to upload a blob, or to mount it from the registry's repository `mount_from` (empty: none); sends nothing yet.

        `content` opens the blob. `advance` is called with the number of bytes uploaded, which may jump after a break. It may raise to end
        the upload.
        """

    def put_manifest(self, manifest: Descriptor, raw: bytes, *, tag: str | None = None) -> None:
        """Publish a manifest or index, whose content is already uploaded, under the tag or else its digest."""


class Download(Protocol):
    """The bytes at a URL. `size` is 0 if the server does not give it; `position` counts the bytes read."""

    size: int
    position: int

    def read(self, size: int, /) -> bytes:
        """1 to `size` bytes, and none only at the end; raises InvalidContent if the connection breaks off."""

    def close(self) -> None:
        """End the transfer, from any thread; a thread that waits in `read` gets InvalidContent."""


class Downloads(Protocol):
    """Archives that an import fetches by URL."""

    def address(self, url: str) -> str:
        """The URL that will be asked for, with `http://` if it names no scheme.

        Raises InvalidParameter for what is not a URL, RegistryFailure if it leads nowhere, Forbidden if nothing may be fetched at all.
        """

    def open(self, address: str) -> AbstractContextManager[Download]:
        """Ask for this address and follow its redirects.

        Raises what `address` raises, NotFound for a host without an address, Forbidden for an address that is not allowed, RegistryFailure
        if there is no answer, and the kind of error that matches a status of 400 or more.
        """


class Registry(Protocol):
    """All registries."""

    def destination(
        self, reference: Reference, *, credentials: Credentials | None = None, headers: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Destination]:
        """Open the repository of this reference to push to it."""

    def repository(
        self, reference: Reference, *, credentials: Credentials | None = None, headers: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Repository]:
        """Open the repository of this reference; `headers` (X-Meta-*) are sent with every request to its registry."""

    def log_in(self, credentials: Credentials) -> str:
        """Try credentials at the registry that they name, docker.io if they name none; returns its identity token, usually empty.

        Raises Unauthorized if its token server refuses them, InvalidParameter for an address that is not a registry's.
        """

    def search(
        self,
        host: str,
        term: str,
        *,
        limit: int,
        credentials: Credentials | None = None,
        headers: Mapping[str, str] | None = None,
        keep: Callable[[int], None] = lambda _: None,
    ) -> list[FoundRepository]:
        """Up to `limit` repositories that the index of this `host[:port]`, or docker.io's if it is empty, finds for a term.

        `keep` is called with the bytes of memory that the answer takes while it is read, before it takes them, and may raise to end that.
        Raises InvalidParameter if no index answers there.
        """
