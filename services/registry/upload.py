"""Pushing to one repository: blobs are looked for, mounted or uploaded; manifests are put last.

    HEAD  /v2/<name>/blobs/<digest>
    POST  /v2/<name>/blobs/uploads/[?mount=<digest>&from=<repository>]    201: it is there; 202: begun, at Location
    PUT   <Location>?digest=<digest>                                      the whole blob
    GET   <Location>                                                      after a break: 204 with Range: 0-<last byte that is there>
    PATCH <Location>      Content-Range: <first>-<last>                   the rest; 202 with the next Location
    PUT   <Location>?digest=<digest>                                      the end of it, without a body
    HEAD, PUT  /v2/<name>/manifests/<tag or digest>

A registry that has forgotten a broken upload gets the blob from its beginning.

Source: OCI distribution spec "Push"; containerd core/remotes/docker/pusher.go; distribution docs/content/spec/api.md "Resumable Push".
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol
from urllib.parse import urlencode

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from services.errors import InvalidContent, InvalidDigest, RegistryFailure, Unauthorized
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.registry.body import UploadBody
from services.registry.errors import MAX_ERROR_BODY, unexpected_status
from services.registry.transport import discard, read_bounded, redirect_target

_BYTES = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_STORED = (200, 201, 202, 204)
_TRIES = 3


class Requests(Protocol):
    """Sends requests to the repository's endpoint; see services/registry/client.py."""

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse: ...

    def request_at(
        self, method: str, location: str, headers: Mapping[str, str], body: bytes | UploadBody | None = None
    ) -> BaseHTTPResponse: ...


class RemoteDestination:
    """Implements `services.registry.protocol.Destination`."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._lock = threading.Lock()
        self._bodies: set[UploadBody] = set()
        self._closed = False

    def has_manifest(self, manifest: Descriptor, *, tag: str | None = None) -> bool:
        found = self._head(f"manifests/{tag or manifest.digest}", manifest)
        return found is not None and (not tag or found.get("Docker-Content-Digest") == str(manifest.digest))

    def has_blob(self, blob: Descriptor) -> bool:
        return self._head(f"blobs/{blob.digest}", blob) is not None

    def upload(self, blob: Descriptor, content: Callable[[], BinaryIO], *, mount_from: str, advance: Callable[[int], None]) -> bool:
        location = self._mount(blob, mount_from) if mount_from else self._begin("blobs/uploads/")
        if location is None:
            return True
        with content() as opened:
            self._send_blob(blob, opened, location, advance)
        return False

    def put_manifest(self, manifest: Descriptor, raw: bytes, *, tag: str | None = None) -> None:
        response = self._requests.request_at(
            "PUT", f"manifests/{tag or manifest.digest}", {"Content-Type": manifest.media_type}, raw
        )
        _check_stored(response, manifest.digest)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            bodies = list(self._bodies)
        for body in bodies:
            body.close()

    def _head(self, path: str, descriptor: Descriptor) -> Mapping[str, str] | None:
        """The headers of what is there, None where nothing is; a client that may only push is not told, and asks no further."""
        try:
            response = self._requests.request("HEAD", path, {"Accept": f"{descriptor.media_type}, */*"})
        except Unauthorized:
            return None
        if response.status == 404:
            discard(response)
            return None
        return _succeeded("HEAD", response, (200,)).headers

    def _mount(self, blob: Descriptor, repository: str) -> str | None:
        """Ask for the blob of another repository; None where it is there now, else where to upload it to."""
        query = urlencode({"mount": str(blob.digest), "from": repository}, safe="/:")
        try:
            return self._begin(f"blobs/uploads/?{query}")
        except Unauthorized:  # the other repository may be private
            return self._begin("blobs/uploads/")

    def _begin(self, path: str) -> str | None:
        response = self._requests.request("POST", path, {})
        status = _succeeded("POST", response, _STORED).status
        return None if status == 201 else _next_location(response)

    def _send_blob(self, blob: Descriptor, opened: BinaryIO, location: str, advance: Callable[[int], None]) -> None:
        """Send the blob; where the connection breaks, go on from where the registry is, with a few tries for each advance."""
        upload = _Upload(blob, opened, location, advance)
        tries, furthest = _TRIES, 0
        while True:
            try:
                self._send_rest(upload)
                return
            except RegistryFailure as exc:
                tries -= 1
                if self._closed or not tries or not isinstance(exc.__cause__, HTTPError | OSError):
                    raise
            if self.has_blob(blob):
                return
            self._find_offset(upload)
            if upload.offset > furthest:
                tries, furthest = _TRIES, upload.offset

    def _send_rest(self, upload: _Upload) -> None:
        """Send what lacks: the whole blob with the request that ends the upload, or the rest of it before that."""
        digest, body = upload.blob.digest, None
        if upload.offset < upload.blob.size:
            body = UploadBody(upload.opened, offset=upload.offset, size=upload.blob.size, advance=upload.advance)
        if upload.offset and body:
            last = upload.blob.size - 1
            headers = _BYTES | {"Content-Range": f"{upload.offset}-{last}"}
            upload.location = _next_location(_succeeded("PATCH", self._send("PATCH", upload.location, headers, body), _STORED))
            body = None
        _check_stored(self._send("PUT", _with_digest(upload.location, digest), _BYTES, body), digest)

    def _find_offset(self, upload: _Upload) -> None:
        """Ask the registry how much it has; one that does not know begins a new upload."""
        response = self._requests.request_at("GET", upload.location, {})
        match = _RANGE.fullmatch(response.headers.get("Range", ""))
        discard(response)
        if response.status == 204 and match and int(match[1]) in range(1, upload.blob.size):  # 0-0 is said of no byte too
            upload.offset = int(match[1]) + 1
            upload.location = _next_location(response) if "Location" in response.headers else upload.location
        else:
            upload.offset = 0
            upload.location = self._begin("blobs/uploads/") or upload.location

    def _send(self, method: str, location: str, headers: Mapping[str, str], body: UploadBody | None) -> BaseHTTPResponse:
        if body is None:
            return self._requests.request_at(method, location, headers)
        with self._lock:
            self._bodies.add(body)
            if self._closed:
                body.close()
        try:
            return self._requests.request_at(method, location, headers, body)
        finally:
            with self._lock:
                self._bodies.discard(body)


@dataclass(slots=True)
class _Upload:
    """One blob on its way: where the registry takes it, and how many bytes are there."""

    blob: Descriptor
    opened: BinaryIO
    location: str
    advance: Callable[[int], None]
    offset: int = 0


def _succeeded(method: str, response: BaseHTTPResponse, wanted: tuple[int, ...]) -> BaseHTTPResponse:
    """The response, its body finished with; raises what the registry says where its status is not one of these."""
    if response.status in wanted:
        discard(response)
        return response
    body, retry_after = read_bounded(response, MAX_ERROR_BODY), response.headers.get("Retry-After", "")
    raise unexpected_status(method, response.url or "", response.status, body, retry_after=retry_after)


def _next_location(response: BaseHTTPResponse) -> str:
    """The absolute URL at which the upload goes on; raises RegistryFailure."""
    location = response.headers.get("Location", "")
    if not location:
        raise RegistryFailure("the registry began an upload without a Location")
    return redirect_target(response.url or "", location)


def _with_digest(location: str, digest: Digest) -> str:
    return f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': str(digest)})}"


def _check_stored(response: BaseHTTPResponse, expected: Digest) -> None:
    """Refuse an answer that does not say that the content is there; raises InvalidContent where it tells another digest."""
    stored = _succeeded("PUT", response, _STORED).headers.get("Docker-Content-Digest", "")
    try:
        actual = Digest.parse(stored) if stored else expected
    except InvalidDigest as exc:
        raise InvalidContent(f"invalid content digest in response: {exc}") from exc
    if actual != expected:
        raise InvalidContent(f"got digest {actual}, expected {expected}")
