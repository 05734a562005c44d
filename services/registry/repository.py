"""The distribution API of one repository, for one operation: manifests, blobs and tags.

    HEAD /v2/<name>/manifests/<tag or digest>      what a name means now
    GET  /v2/<name>/manifests/<digest>
    GET  /v2/<name>/blobs/<digest>                 with Range, to continue a partial
    GET  /v2/<name>/tags/list                      {"tags": [...]}, the next page in a Link header

Nothing in an answer is trusted except the digest that a tag has now. Content fetched by digest is verified against it.

Source: OCI distribution spec; containerd core/remotes/docker/resolver.go and fetcher.go; moby daemon/internal/distribution/pull.go (Tags).
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.response import BaseHTTPResponse

from stowage.services.errors import InvalidContent, InvalidDigest, NotFound, RegistryFailure
from stowage.services.oci import gojson, mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import MAX_VALUES, Fields
from stowage.services.oci.manifest import MAX_MANIFEST_BYTES, schema1_removed
from stowage.services.oci.reference import Reference, is_tag
from stowage.services.registry.connections import discard, read_bounded, read_piece
from stowage.services.registry.exchange import Exchange
from stowage.services.registry.failure import NO_RANGES, Failed
from stowage.services.registry.words import OPENING, copy_error, pull_errors, reason, request_errors, tags_errors

_MANIFESTS = mediatypes.INDEXES | mediatypes.MANIFESTS
_ACCEPT = ", ".join([*sorted(_MANIFESTS), "*/*"])
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-")
_SIZE = re.compile(r"\d{1,19}")

CHUNK = 512 << 10
_GATHER_SECONDS = 0.1

_MAX_BYTES = 16 << 20
"""Paged lists have up to 1,000 tags a page, which take tens of KiB. Other registries send all tags as one page."""
_MAX_PAGES = 1000

_PAGE_MEMORY = 10
"""Bytes of memory for each byte of a page, roughly: twice as it arrives, and as text and as names with up to four bytes a character."""
_PLACE_BYTES = 8
"""Bytes of memory for the place of a tag in a list."""

_Begun = tuple[BaseHTTPResponse, int]  # an answer, and the offset at which its body begins in the blob


class BlobStream(Protocol):
    """The rest of a blob, as a pull reads it. Iterating yields chunks, verified by the caller; raises RegistryFailure when the connection
    breaks.
    """

    @property
    def offset(self) -> int:
        """Where the stream actually begins: the offset asked for, or 0 from a registry without ranges."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """End the transfer now, from any thread."""


class BodyStream:
    """The bytes of a blob from `offset` to its end, as they arrive; `close` ends it early, from any thread.

    `suspect` is called if the connection breaks, so that the next try may go elsewhere.
    """

    def __init__(self, response: BaseHTTPResponse, offset: int, *, size: int, suspect: Callable[[], None] = lambda: None) -> None:
        self.offset = offset
        self._response = response
        self._missing = size - offset
        self._suspect = suspect
        self._lock = threading.Lock()
        self._reading = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks of up to 512 KiB; if the connection breaks or was closed, raises RegistryFailure after all bytes that arrived."""
        while chunk := self._read():
            yield chunk

    def close(self) -> None:
        """End the transfer; a thread that waits for the next chunk gets RegistryFailure at once."""
        with self._lock:
            self._closed = True
            if not self._reading:
                self._response.close()
                return
            with suppress(OSError, ValueError, RuntimeError):  # the last byte has just come, and the connection is back in its pool
                self._response.shutdown()

    def _read(self) -> bytes:
        with self._lock:
            if self._closed:
                raise RegistryFailure("failed to copy: context canceled")
            self._reading = True
        try:
            return self._gather()
        except (HTTPError, OSError, ValueError) as exc:
            self._suspect()
            raise copy_error("unexpected EOF" if isinstance(exc, ProtocolError) else reason(exc)) from exc
        finally:
            self._end_reading()

    def _gather(self) -> bytes:
        """What arrives within a moment, at most 512 KiB and nothing only at the end; an error is raised after the bytes before it."""
        pieces: list[bytes] = []
        room, until = CHUNK, 0.0
        while room:
            try:
                piece = read_piece(self._response, room)
            except (HTTPError, OSError, ValueError):
                if pieces:
                    break
                raise
            if not piece:
                break
            pieces.append(piece)
            room -= len(piece)
            now = time.monotonic()
            until = until or now + _GATHER_SECONDS
            if now >= until:
                break
        self._missing -= CHUNK - room
        if not pieces and self._missing > 0 and self._is_unframed():
            raise ProtocolError("the connection ended before the blob was complete")
        return b"".join(pieces)

    def _is_unframed(self) -> bool:
        """Whether only the end of the connection ends the body, so a complete body cannot be told from a part."""
        headers = self._response.headers
        return "Content-Length" not in headers and "chunked" not in headers.get("Transfer-Encoding", "").lower()

    def _end_reading(self) -> None:
        with self._lock:
            self._reading = False
            if self._closed:
                self._response.close()


class Repository:
    """One repository of one registry, for one operation. Usable from several threads once `resolve` or `tags` has answered.

    Every call may wait for a server. Calls made in an operation (services/registry/operations.py) end when it is cancelled. They raise
    NotFound, Unauthorized, Forbidden, Unsupported, Unavailable, ResourceExhausted or InvalidContent, in Docker's words, and RegistryFailure
    if the connection fails or the answer makes no sense.
    """

    def __init__(self, reference: Reference, requests: Exchange) -> None:
        self._familiar_name = reference.familiar_name
        self._requests = requests

    def tags(self, keep: Callable[[int], None] = lambda _: None) -> list[str]:
        """Every tag of all pages, in the registry's order; names that do not fit the grammar of tags are left out.

        `keep` is called with the bytes of memory that a page takes, before it takes them, and with a negative number for what is no longer
        kept of it. It may raise to end the list.
        """
        with tags_errors(self._familiar_name):
            return _list_tags(self._requests, self._familiar_name, keep)

    def resolve(self, reference: Reference) -> Descriptor:
        """What the reference's digest, or else its tag, names now; costs one HEAD if the registry sends Docker-Content-Digest."""
        path = f"manifests/{reference.digest or reference.tag}"
        with pull_errors(self._familiar_name, f'failed to resolve reference "{reference}": ', absent=str(reference)):
            response = self._ask("HEAD", path, {"Accept": _ACCEPT})
            discard(response)
            descriptor = _from_headers(response, reference) or self._from_body(path, reference)
        if descriptor.size > MAX_MANIFEST_BYTES:
            raise _too_large(reference, descriptor.size)
        return descriptor

    def manifest(self, descriptor: Descriptor) -> bytes:
        """A manifest or index by digest, size and digest verified; an endpoint that sends wrong bytes is asked only once."""
        while True:
            try:
                return self._manifest(descriptor)
            except InvalidContent:
                if not self._requests.distrust(f"manifests/{descriptor.digest}"):
                    raise

    def _manifest(self, descriptor: Descriptor) -> bytes:
        path = f"manifests/{descriptor.digest}"
        with pull_errors(self._familiar_name, OPENING):
            response = self._ask("GET", path, {"Accept": f"{descriptor.media_type}, */*"})
        try:
            raw = read_bounded(response, MAX_MANIFEST_BYTES)
        except RegistryFailure as exc:
            self._requests.suspect(path)
            raise copy_error() from exc
        if len(raw) != descriptor.size:
            raise InvalidContent(f"failed size validation: {len(raw)} != {descriptor.size}: {descriptor.digest}")
        _verify(raw, descriptor.digest)
        return raw

    def read(self, reference: Reference) -> tuple[Descriptor, bytes]:
        """What the reference's digest, or else its tag, names now, with its bytes, verified; costs one GET.

        A refusal is reported in the registry's own words.
        """
        path = f"manifests/{reference.digest or reference.tag}"
        with request_errors("GET" if reference.digest else "HEAD"):
            response = self._requests.request("GET", path, {"Accept": _ACCEPT})
            if response.status >= 300:
                raise self._requests.refused("GET", response)
        stated = response.headers.get("Docker-Content-Digest", "")
        descriptor, raw = _described(response, reference)
        _verify(raw, descriptor.digest)
        if stated and reference.digest is None:
            _verify(raw, _stated_digest(stated))
        return descriptor, raw

    def blob(self, descriptor: Descriptor, *, offset: int = 0) -> BlobStream:
        """Begin to fetch a blob from `offset` bytes on; a registry without ranges begins at 0.

        A layer that the registry does not have is requested from the URLs of its descriptor that the settings allow.
        """
        path = f"blobs/{descriptor.digest}"
        with pull_errors(self._familiar_name, OPENING):
            begun = self._own(path, descriptor, offset) or self._elsewhere(descriptor, offset)
            if begun is None:
                what = f"content descriptor {descriptor.digest} ({descriptor.media_type})"
                raise NotFound(f"{OPENING}could not fetch {what} from remote: not found")
        response, begin = begun
        return BodyStream(response, begin, size=descriptor.size, suspect=lambda: self._requests.suspect(path))

    def suspect(self, descriptor: Descriptor) -> None:
        """Ask another endpoint first for the rest of this blob, if there is one."""
        self._requests.suspect(f"blobs/{descriptor.digest}")

    def distrust(self, descriptor: Descriptor) -> bool:
        """Stop asking the endpoint that sent wrong bytes of this blob; returns whether there is another."""
        return self._requests.distrust(f"blobs/{descriptor.digest}")

    def _own(self, path: str, descriptor: Descriptor, offset: int) -> _Begun | None:
        """What the registry begins to send; None if it does not have the blob."""
        try:
            return self._ranged(partial(self._requests.request, "GET", path), f"{descriptor.media_type}, */*", offset)
        except Failed as exc:
            if exc.failure.is_absence:
                return None
            raise

    def _elsewhere(self, descriptor: Descriptor, offset: int) -> _Begun | None:
        """What the first allowed URL of a foreign layer that has it begins to send; None if none is allowed."""
        failure: Failed | RegistryFailure | None = None
        for url in descriptor.urls if mediatypes.is_foreign_layer(descriptor.media_type) else ():
            try:
                if begun := self._ranged(partial(self._requests.request_foreign, url), "*/*", offset):
                    return begun
            except (Failed, RegistryFailure) as exc:
                failure = exc
        if failure is not None:
            raise failure
        return None

    def _ranged(self, ask: Callable[[Mapping[str, str]], BaseHTTPResponse | None], accept: str, offset: int) -> _Begun | None:
        """A blob from an offset on, or from its beginning if ranges are ignored, refused or wrong; None if `ask` is not allowed to ask."""
        headers = {"Accept": accept}
        if offset and (response := ask({**headers, "Range": f"bytes={offset}-"})) is not None:
            if response.status == 206 and _begins_at(response) == offset:
                return response, offset
            if response.status != 206 and response.status not in NO_RANGES:
                return self._requests.succeeded("GET", response), 0
            discard(response)
        whole = ask(headers)
        return None if whole is None else (self._requests.succeeded("GET", whole), 0)

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """The response to a successful request; raises Failed for any other."""
        return self._requests.succeeded(method, self._requests.request(method, path, headers))

    def _from_body(self, path: str, reference: Reference) -> Descriptor:
        """Describe a manifest by its bytes, for a HEAD that does not say enough; the bytes are not kept."""
        return _described(self._ask("GET", path, {"Accept": _ACCEPT}), reference)[0]


def _from_headers(response: BaseHTTPResponse, reference: Reference) -> Descriptor | None:
    """The descriptor in the headers of a HEAD, or None if they do not say enough; raises InvalidContent."""
    media_type = _media_type(response)
    if media_type in mediatypes.SCHEMA1:
        raise schema1_removed(str(reference))
    header, size = response.headers.get("Docker-Content-Digest", ""), response.headers.get("Content-Length", "")
    if media_type not in _MANIFESTS or not _SIZE.fullmatch(size) or not (header or reference.digest):
        return None
    return Descriptor(media_type, reference.digest or _stated_digest(header), int(size))


def _described(response: BaseHTTPResponse, reference: Reference) -> tuple[Descriptor, bytes]:
    """The body of a GET and its descriptor; the reference's digest is not verified here."""
    raw = read_bounded(response, MAX_MANIFEST_BYTES)
    if len(raw) > MAX_MANIFEST_BYTES:
        raise _too_large(reference, len(raw))
    media_type = _media_type(response)
    if media_type in mediatypes.SCHEMA1:
        raise schema1_removed(str(reference))
    if media_type not in _MANIFESTS:
        media_type = _declared(raw, media_type, reference)
    return Descriptor(media_type, reference.digest or Digest.of(raw), len(raw)), raw


def _verify(raw: bytes, digest: Digest) -> None:
    found = Digest.of(raw, digest.algorithm)
    if found != digest:
        raise InvalidContent(f"unexpected digest {found}, expected {digest}")


def _stated_digest(header: str) -> Digest:
    try:
        return Digest.parse(header)
    except InvalidDigest as exc:
        raise InvalidContent(f'"{header[:128]}" in header not a valid digest: {exc}') from exc


def _media_type(response: BaseHTTPResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip()


def _declared(raw: bytes, sent_as: str, reference: Reference) -> str:
    """The media type that a manifest gives itself if it is sent under a general type (application/json, text/plain)."""
    gojson.check_values(raw, gojson.MAX_VALUES)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    fields = document if isinstance(document, dict) else {}
    declared = fields.get("mediaType")
    if "fsLayers" in fields or (declared not in _MANIFESTS and fields.get("schemaVersion") == 1):
        raise schema1_removed(str(reference))
    if declared not in _MANIFESTS and not sent_as:
        raise InvalidContent(f"the answer for {reference} has no Content-Type, and its body does not name the media type of a manifest")
    if declared not in _MANIFESTS:
        raise InvalidContent(f"unsupported media type {sent_as}")
    return str(declared)


def _too_large(reference: Reference, size: int) -> NotFound:
    return NotFound(f'failed to resolve reference "{reference}": rejecting {size} byte manifest for {reference}: not found')


def _begins_at(response: BaseHTTPResponse) -> int | None:
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _list_tags(requests: Exchange, repository: str, keep: Callable[[int], None]) -> list[str]:
    """As `Repository.tags` describes; errors show the name `repository`.

    Raises Failed for an answer that is not a list of tags, and RegistryFailure for one that cannot be read.
    """
    found: list[str] = []
    query, left, names = "", _MAX_BYTES, 0
    for _ in range(_MAX_PAGES):
        response = requests.request("GET", f"tags/list{query}", {})
        if response.status != 200:
            raise requests.refused("GET", response)
        body = read_bounded(response, left, arrived=lambda size: keep(_PAGE_MEMORY * size))
        left -= len(body)
        if left < 0:
            raise RegistryFailure(f"the list of tags of {repository} is larger than {_MAX_BYTES} bytes")
        page = _read_page(body)
        names += len(page)
        if names > MAX_VALUES:
            raise RegistryFailure(f"the list of tags of {repository} has more than {MAX_VALUES} tags")
        tags = [name for name in page if is_tag(name)]
        keep(sum(_PLACE_BYTES + sys.getsizeof(tag) for tag in tags) - _PAGE_MEMORY * len(body))
        found += tags
        query = _next_page(response)
        if not query:
            return found
        del body, page, tags  # not kept while the next page is awaited
    raise RegistryFailure(f"the list of tags of {repository} has more than {_MAX_PAGES} pages")


def _next_page(response: BaseHTTPResponse) -> str:
    """The query of the next page, empty after the last."""
    link = response.headers.get("Link", "").partition(";")[0].strip("<> ")
    try:
        return "?" + urlsplit(link).query if link else ""
    except ValueError as exc:
        raise RegistryFailure("the registry's link to the next page of tags is not a URL") from exc


def _read_page(body: bytes) -> list[str]:
    """The tags on one page; Docker's registry sends null if there are none."""
    try:
        return list(Fields(gojson.decode(body), "struct { Tags []string }").texts("tags") or ())
    except InvalidContent as exc:
        raise RegistryFailure(f"the registry's list of tags is not readable: {exc}") from exc
