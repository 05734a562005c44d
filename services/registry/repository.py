"""The distribution API of one repository: manifests and blobs, and its tags (services/registry/tags.py).

    HEAD /v2/<name>/manifests/<tag or digest>      what a name means now
    GET  /v2/<name>/manifests/<digest>
    GET  /v2/<name>/blobs/<digest>                 with Range, to continue a partial

Nothing in an answer is trusted except the digest that a tag has now. Content fetched by digest is verified against it.

Source: OCI distribution spec; containerd core/remotes/docker/resolver.go and fetcher.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial

from urllib3.response import BaseHTTPResponse

from stowage.services.errors import InvalidContent, InvalidDigest, NotFound, RegistryFailure
from stowage.services.oci import gojson, mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.manifest import MAX_MANIFEST_BYTES, schema1_removed
from stowage.services.oci.reference import Reference
from stowage.services.registry.containerd_words import OPENING, copy_error, pull_errors
from stowage.services.registry.distribution_words import request_errors, tags_errors
from stowage.services.registry.exchange import Exchange
from stowage.services.registry.failure import Failed
from stowage.services.registry.refusals import NO_RANGES, refused
from stowage.services.registry.tags import list_tags
from stowage.services.registry.transport import BodyStream, discard, read_bounded

_MANIFESTS = mediatypes.INDEXES | mediatypes.MANIFESTS
_ACCEPT = ", ".join([*sorted(_MANIFESTS), "*/*"])
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-")
_SIZE = re.compile(r"\d{1,19}")

_Begun = tuple[BaseHTTPResponse, int]  # an answer, and the offset at which its body begins in the blob


class RemoteRepository:
    """Implements `stowage.services.registry.protocol.Repository`. Usable from several threads once `resolve` or `tags` has answered."""

    def __init__(self, reference: Reference, requests: Exchange) -> None:
        self._familiar_name = reference.familiar_name
        self._requests = requests

    def tags(self, keep: Callable[[int], None] = lambda _: None) -> list[str]:
        with tags_errors(self._familiar_name):
            return list_tags(lambda path: self._requests.request("GET", path, {}), self._familiar_name, keep)

    def resolve(self, reference: Reference) -> Descriptor:
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
        path = f"manifests/{reference.digest or reference.tag}"
        with request_errors("GET" if reference.digest else "HEAD"):
            response = self._requests.request("GET", path, {"Accept": _ACCEPT})
            if response.status >= 300:
                raise refused("GET", response)
        stated = response.headers.get("Docker-Content-Digest", "")
        descriptor, raw = _described(response, reference)
        _verify(raw, descriptor.digest)
        if stated and reference.digest is None:
            _verify(raw, _stated_digest(stated))
        return descriptor, raw

    def blob(self, descriptor: Descriptor, *, offset: int = 0) -> BodyStream:
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
            return _ranged(lambda headers: self._requests.request("GET", path, headers), f"{descriptor.media_type}, */*", offset)
        except Failed as exc:
            if exc.failure.is_absence:
                return None
            raise

    def _elsewhere(self, descriptor: Descriptor, offset: int) -> _Begun | None:
        """What the first allowed URL of a foreign layer that has it begins to send; None if none is allowed."""
        failure: Failed | RegistryFailure | None = None
        for url in descriptor.urls if mediatypes.is_foreign_layer(descriptor.media_type) else ():
            try:
                if begun := _ranged(partial(self._requests.request_foreign, url), "*/*", offset):
                    return begun
            except (Failed, RegistryFailure) as exc:
                failure = exc
        if failure is not None:
            raise failure
        return None

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """The response to a successful request; raises Failed for any other."""
        return _succeeded(method, self._requests.request(method, path, headers))

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


def _succeeded(method: str, response: BaseHTTPResponse) -> BaseHTTPResponse:
    """The response of a successful request; raises Failed for any other."""
    if response.status < 300:
        return response
    raise refused(method, response)


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


def _ranged(ask: Callable[[Mapping[str, str]], BaseHTTPResponse | None], accept: str, offset: int) -> _Begun | None:
    """A blob from an offset on, or from its beginning if ranges are ignored, refused or wrong; None if `ask` is not allowed to ask."""
    headers = {"Accept": accept}
    if offset and (response := ask({**headers, "Range": f"bytes={offset}-"})) is not None:
        if response.status == 206 and _begins_at(response) == offset:
            return response, offset
        if response.status != 206 and response.status not in NO_RANGES:
            return _succeeded("GET", response), 0
        discard(response)
    whole = ask(headers)
    return None if whole is None else (_succeeded("GET", whole), 0)


def _begins_at(response: BaseHTTPResponse) -> int | None:
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None
