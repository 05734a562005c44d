"""Pushing to one repository: blobs are looked for, mounted or uploaded; manifests are put last.

    HEAD  /v2/<name>/blobs/<digest>
    POST  /v2/<name>/blobs/uploads/[?mount=<digest>&from=<repository>]    201: mounted; 202: begun, at Location
    PUT   <Location>?digest=<digest>                                      the whole blob
    GET   <Location>                                                      after a break: 204 with Range: 0-<last byte received>
    PATCH <Location>      Content-Range: <first>-<last>                   the rest; 202 with the next Location
    PUT   <Location>?digest=<digest>                                      the end of it, without a body
    HEAD, PUT  /v2/<name>/manifests/<tag or digest>

If a registry has forgotten a broken upload, or refuses the rest of it, the blob is sent again from its beginning.

Source: OCI distribution spec "Push"; containerd core/remotes/docker/pusher.go; distribution docs/content/spec/api.md "Resumable Push".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from urllib.parse import urlencode

from urllib3.response import BaseHTTPResponse

from stowage.services.errors import EngineError, Internal, InvalidContent, InvalidDigest, RegistryFailure, Unauthorized
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.registry.connections import OpenBlob, UploadBody, discard
from stowage.services.registry.exchange import Exchange
from stowage.services.registry.transport import redirect_target
from stowage.services.registry.words import push_errors

_BYTES = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,19})")
_STORED = (200, 201, 202, 204)


class Destination:
    """One repository of one registry that is pushed to, for one operation. Its methods raise Unauthorized if access is denied.

    Usable from several threads after its first answer. The registry may take `stall_seconds` to accept a piece of a blob.
    """

    def __init__(self, requests: Exchange, *, stall_seconds: float) -> None:
        self._requests = requests
        self._stall_seconds = stall_seconds

    def has_manifest(self, manifest: Descriptor, *, tag: str | None = None) -> bool:
        """Whether the registry has this manifest or index, under this tag if one is given."""
        found = self._head(f"manifests/{tag or manifest.digest}", manifest)
        return found is not None and (not tag or found.get("Docker-Content-Digest") == str(manifest.digest))

    def has_blob(self, blob: Descriptor) -> bool:
        return self._head(f"blobs/{blob.digest}", blob) is not None

    def upload(
        self, blob: Descriptor, content: Callable[[], AbstractContextManager[OpenBlob]], *, mount_from: str, advance: Callable[[int], None]
    ) -> Upload:
        """Prepare to upload a blob, or to mount it from the registry's repository `mount_from` (empty: none); sends nothing yet.

        `content` opens the blob. `advance` is called with the number of bytes uploaded, which may jump after a break. It may raise to end
        the upload.
        """
        return Upload(self._requests, self._stall_seconds, blob, content, mount_from, advance)

    @push_errors()
    def put_manifest(self, manifest: Descriptor, raw: bytes, *, tag: str | None = None) -> None:
        """Publish a manifest or index, whose content is already uploaded, under the tag or else its digest."""
        response = self._requests.request_at("PUT", f"manifests/{tag or manifest.digest}", {"Content-Type": manifest.media_type}, raw)
        _check_stored(self._requests, response, manifest.digest)

    def _head(self, path: str, descriptor: Descriptor) -> Mapping[str, str] | None:
        """The headers of existing content, None if there is none; a client that may only push cannot see it and gets None too."""
        try:
            with push_errors():
                response = self._requests.request("HEAD", path, {"Accept": f"{descriptor.media_type}, */*"})
        except Unauthorized:
            return None
        if response.status == 404:
            discard(response)
            return None
        with push_errors():
            return _finished(self._requests, "HEAD", response, (200,)).headers


@dataclass(slots=True)
class Upload:
    """One blob on its way to a repository; `offset` is how many bytes the registry had when the last try began.

    `_location` is where the registry accepts the rest, empty until known.
    """

    _requests: Exchange
    _stall_seconds: float
    _blob: Descriptor
    _content: Callable[[], AbstractContextManager[OpenBlob]]
    _mount_from: str
    _advance: Callable[[int], None]
    offset: int = 0
    _location: str = ""

    def proceed(self) -> bool:
        """Try to send what is missing; returns whether the registry took the blob from its other repository instead.

        After a failure with `retry_after` set, another try continues from what the registry has, or starts again if it has forgotten.
        """
        if not (self._location and self._find_offset()):
            self.offset, self._location = 0, ""
            self._location = self._mount() if self._mount_from else self._begin("blobs/uploads/")
        if not self._location:
            return True
        try:
            with self._content() as opened:
                self._send_rest(opened)
        except EngineError as exc:
            is_final = exc.retry_after is None and not isinstance(exc, Internal)
            if self.offset and is_final:  # a registry that refuses the rest may accept the whole blob
                self._location, exc.retry_after = "", 0
            raise
        return False

    def _mount(self) -> str:
        """Ask to mount the blob from another repository; returns where to upload it, empty if it was mounted."""
        query = urlencode({"mount": str(self._blob.digest), "from": self._mount_from}, safe="/:")
        try:
            return self._begin(f"blobs/uploads/?{query}")
        except Unauthorized:  # the other repository may be private
            return self._begin("blobs/uploads/")

    @push_errors()
    def _begin(self, path: str) -> str:
        response = self._requests.request("POST", path, {})
        status = _finished(self._requests, "POST", response).status
        return "" if status == 201 else _next_location(response)

    @push_errors()
    def _find_offset(self) -> bool:
        """Ask the registry how much it has; returns whether it has some and says how much."""
        response = self._requests.request_at("GET", self._location, {})
        match = _RANGE.fullmatch(response.headers.get("Range", ""))
        discard(response)
        if response.status != 204 or not match or int(match[1]) not in range(1, self._blob.size):  # 0-0 is also sent for no byte
            return False
        self.offset = int(match[1]) + 1
        if "Location" in response.headers:
            self._location = _next_location(response)
        return True

    @push_errors()
    def _send_rest(self, opened: OpenBlob) -> None:
        """Send what is missing: the whole blob in the request that ends the upload, or the rest of it before that."""
        digest, size, offset = self._blob.digest, self._blob.size, self.offset
        opened.seek(offset)  # this may take a while, and a request already begun would wait for it
        body = UploadBody(opened, offset=offset, size=size, stall_seconds=self._stall_seconds, advance=self._advance)
        if 0 < offset < size:
            headers = _BYTES | {"Content-Range": f"{offset}-{size - 1}"}
            response = self._requests.request_at("PATCH", self._location, headers, body)
            self._location = _next_location(_finished(self._requests, "PATCH", response))
        url = _with_digest(self._location, digest)
        response = self._requests.request_at("PUT", url, _BYTES, None if offset or not size else body)
        _check_stored(self._requests, response, digest)


def _finished(requests: Exchange, method: str, response: BaseHTTPResponse, wanted: tuple[int, ...] = _STORED) -> BaseHTTPResponse:
    """The response, its body discarded; raises Failed if its status is not one of these."""
    discard(requests.succeeded(method, response, wanted))
    return response


def _next_location(response: BaseHTTPResponse) -> str:
    """The absolute URL at which the upload continues; raises RegistryFailure."""
    location = response.headers.get("Location", "")
    if not location:
        raise RegistryFailure("the registry began an upload without a Location")
    return redirect_target(response.url or "", location)


def _with_digest(location: str, digest: Digest) -> str:
    return f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': str(digest)})}"


def _check_stored(requests: Exchange, response: BaseHTTPResponse, expected: Digest) -> None:
    """Refuse an answer that does not say that the content is stored; raises InvalidContent if it reports another digest."""
    stored = _finished(requests, "PUT", response).headers.get("Docker-Content-Digest", "")
    try:
        actual = Digest.parse(stored) if stored else expected
    except InvalidDigest as exc:
        raise InvalidContent(f"invalid content digest in response: {exc}") from exc
    if actual != expected:
        raise InvalidContent(f"got digest {actual}, expected {expected}")
