"""What a registry does with uploads, and what it can do wrong with them."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.builders import digest_of
from tests.fake_registry.server import Handler

ENDLESS = "9" * 5000
"""More digits than Python makes a number of."""


class UploadFault(StrEnum):
    """What happens to the next request of the method that stands first; each happens once."""

    DROPPED = "PUT: half of the body is taken, then the connection is gone"
    DROPPED_AGAIN = "PATCH: half of the body is taken, then the connection is gone"
    FORGOTTEN = "PUT: the connection is gone, and the upload with it"
    SILENT_SUCCESS = "PUT: the blob is taken, then the connection is gone"
    STALLED = "PUT: half of the body is taken, then nothing until `resume` is set, then the rest"
    RESET = "PUT: half of the body is taken, then the connection is reset"
    BROKEN = "PUT: 500 with a page"
    BUSY = "PUT: 503 with a page"
    COME_BACK = "PUT: 429 with Retry-After: 1"
    COME_BACK_TOMORROW = "PUT: 429 with Retry-After: 86400"
    OTHER_DIGEST = "PUT: 201 with the digest of something else"
    BAD_DIGEST = "PUT: 201 with a digest that is none"
    REFUSED = "PUT: 400 DIGEST_INVALID"
    ELSEWHERE = "POST: a Location at `redirect_to`"
    NOWHERE = "POST: no Location"
    NOT_NOW = "POST: 503 with a page"
    SILENT = "POST: no answer, the connection is gone"
    REST_REFUSED = "PATCH: 416 RANGE_INVALID"
    MANIFEST_BUSY = "PUT manifest: 503 with a page"
    MANIFEST_LOST = "PUT manifest: it is taken, then the connection is gone"
    READ_ONLY = "POST: 405 UNSUPPORTED"
    DENIED = "POST: 403 DENIED"
    ENDLESS_RANGE = "GET: 204 with a Range of 5000 digits"
    MOUNT_DENIED = "POST: 401 UNAUTHORIZED with a challenge that asks for more"

    @property
    def method(self) -> str:
        return self.partition(":")[0]


@dataclass
class Uploads:
    """The uploads of a registry: bytes by upload, what may be mounted (digest -> repository, content), faults in their order."""

    running: dict[str, bytes] = field(default_factory=dict)
    mountable: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    faults: list[UploadFault] = field(default_factory=list)
    broken_off: threading.Event = field(default_factory=threading.Event)
    begun: int = 0
    most_at_once: int = 0
    sending: int = 0

    def fault(self, method: str) -> UploadFault | None:
        """The next fault, if it is one of this method."""
        return self.faults.pop(0) if self.faults and self.faults[0].method == method else None


class UploadHandler(Handler, BaseHTTPRequestHandler):
    """POST, PUT and PATCH of the distribution API; `registry` is a FakeRegistry."""

    registry: Any

    def do_POST(self) -> None:
        if not self._noted():
            return
        url, uploads = urlsplit(self.path), self.registry.uploads
        query, fault = parse_qs(url.query), uploads.fault("POST")
        if fault in _REFUSALS:
            self._error(*_REFUSALS[fault])
            return
        if fault in _LATER:
            self._later(fault)
            return
        if fault is UploadFault.SILENT:
            self.close_connection = True
            return
        if fault is UploadFault.MOUNT_DENIED:
            challenge = f'Bearer realm="{self.registry.base}/token",service="fake",scope="repository:other:pull",error="insufficient_scope"'
            self._send(401, b"", {"WWW-Authenticate": challenge})
            return
        digest = query.get("mount", [""])[0]
        source, content = uploads.mountable.get(digest, ("", b""))
        if source and query["from"] == [source]:
            self.registry.blobs[digest] = content
            self._send(201, b"", {"Location": f"/v2/blobs/{digest}", "Docker-Content-Digest": digest})
            return
        uploads.begun += 1
        name = f"upload{uploads.begun}"
        uploads.running[name] = b""
        repository = url.path.removeprefix("/v2/").partition("/blobs/")[0]
        location = f"/v2/{repository}/blobs/uploads/{name}?state=a%2Fb"
        if fault is UploadFault.ELSEWHERE:
            location = self.registry.redirect_to + location
        self._send(202, b"", {} if fault is UploadFault.NOWHERE else {"Location": location, "Range": "0-0"})

    def do_PATCH(self) -> None:
        if not self._noted():
            self.close_connection = True  # its body is still on the way
            return
        name = urlsplit(self.path).path.rpartition("/")[2]
        taken = self.registry.uploads.running[name]
        if re.match(r"\d+", self.headers.get("Content-Range", "0")).group() != str(len(taken)):  # type: ignore[union-attr]
            self._error(416, "RANGE_INVALID", "not where the upload is")
            return
        fault = self.registry.uploads.fault("PATCH")
        if fault in _REFUSALS:
            self._body()
            self._error(*_REFUSALS[fault])
            return
        body = self._body(half=fault is not None)
        self.registry.uploads.running[name] = taken + body
        if fault:
            self.close_connection = True
            return
        self._send(202, b"", {"Location": self.path, "Range": f"0-{len(taken + body) - 1}"})

    def do_PUT(self) -> None:
        if not self._noted():
            self.close_connection = True
            return
        url = urlsplit(self.path)
        if "/manifests/" in url.path:
            self._put_manifest(url.path)
        else:
            self._put_blob(url.path.rpartition("/")[2], parse_qs(url.query)["digest"][0])

    def upload_state(self, path: str) -> None:
        """GET of an upload."""
        taken = self.registry.uploads.running.get(path.rpartition("/")[2])
        if taken is None:
            self._error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        else:
            last = ENDLESS if self.registry.uploads.fault("GET") else max(0, len(taken) - 1)
            self._send(204, b"", {"Location": self.path, "Range": f"0-{last}"})

    def _put_blob(self, name: str, digest: str) -> None:
        uploads = self.registry.uploads
        fault = uploads.fault("PUT")
        halved = fault in (UploadFault.DROPPED, UploadFault.FORGOTTEN, UploadFault.RESET)
        content = uploads.running.get(name, b"") + (self._stalled() if fault is UploadFault.STALLED else self._body(half=halved))
        if halved:
            uploads.running[name] = content
            if fault is UploadFault.FORGOTTEN:
                del uploads.running[name]
            if fault is UploadFault.RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif fault in _REFUSALS:
            self._error(*_REFUSALS[fault])
        elif fault in _LATER:
            self._later(fault)
        elif digest_of(content) != digest:
            self._error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        else:
            self._stored(name, digest, content, fault)

    def _later(self, fault: UploadFault | None) -> None:
        status, headers = _LATER[fault]
        self._send(status, b"<html>oops</html>", {"Content-Type": "text/html", **headers})

    def _stalled(self) -> bytes:
        """A body in two halves; tells when the second does not come whole."""
        length = int(self.headers["Content-Length"])
        first = self.rfile.read(length // 2)
        self.registry.stalled.set()
        self.registry.resume.wait(30)
        second = self.rfile.read(length - len(first))
        if len(first + second) < length:
            self.registry.uploads.broken_off.set()
        return first + second

    def _stored(self, name: str, digest: str, content: bytes, fault: UploadFault | None) -> None:
        self.registry.uploads.running.pop(name, None)
        self.registry.blobs[digest] = content
        if fault is UploadFault.SILENT_SUCCESS:
            self.close_connection = True
            return
        told = {UploadFault.OTHER_DIGEST: digest_of(b"something else"), UploadFault.BAD_DIGEST: "sha256:../x"}
        self._send(201, b"", {"Location": f"/v2/blobs/{digest}", "Docker-Content-Digest": told.get(fault, digest) if fault else digest})

    def _put_manifest(self, path: str) -> None:
        repository, _, reference = path.removeprefix("/v2/").rpartition("/manifests/")
        content = self._body()
        fault = self.registry.uploads.fault("PUT manifest")
        if fault in _LATER:
            self._later(fault)
            return
        known = {*self.registry.blobs, *(digest for name, digest in self.registry.manifests if name == repository)}
        if missing := _needed(content) - known:
            self._error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", detail=sorted(missing))
            return
        self.registry.keep_manifest(repository, reference, self.headers.get("Content-Type", ""), content)
        if fault is UploadFault.MANIFEST_LOST:
            self.close_connection = True
            return
        self._send(201, b"", {"Location": path, "Docker-Content-Digest": digest_of(content)})

    def _body(self, *, half: bool = False) -> bytes:
        uploads = self.registry.uploads
        uploads.sending += 1
        uploads.most_at_once = max(uploads.most_at_once, uploads.sending)
        length = int(self.headers.get("Content-Length", "0"))
        try:
            return self.rfile.read(length // 2 if half else length)
        finally:
            uploads.sending -= 1

    def _noted(self) -> bool:
        """Keep the request; whether it is authorized, else it has its answer."""
        raise NotImplementedError

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        raise NotImplementedError

    def _error(self, status: int, code: str, message: str, **fields: Any) -> None:
        raise NotImplementedError


def _needed(content: bytes) -> set[str]:
    """The digests that a manifest or index needs to be there, foreign layers left out."""
    document = json.loads(content)
    parts = [*document.get("manifests", []), *filter(None, [document.get("config")]), *document.get("layers", [])]
    return {part["digest"] for part in parts if "foreign" not in part["mediaType"] and "nondistributable" not in part["mediaType"]}


_REFUSALS: dict[UploadFault | None, tuple[int, str, str]] = {
    UploadFault.REFUSED: (400, "DIGEST_INVALID", "provided digest did not match uploaded content"),
    UploadFault.REST_REFUSED: (416, "RANGE_INVALID", "invalid content range"),
    UploadFault.READ_ONLY: (405, "UNSUPPORTED", "The operation is unsupported."),
    UploadFault.DENIED: (403, "DENIED", "requested access to the resource is denied"),
}
_LATER: dict[UploadFault | None, tuple[int, dict[str, str]]] = {
    UploadFault.BROKEN: (500, {}),
    UploadFault.BUSY: (503, {}),
    UploadFault.NOT_NOW: (503, {}),
    UploadFault.MANIFEST_BUSY: (503, {}),
    UploadFault.COME_BACK: (429, {"Retry-After": "1"}),
    UploadFault.COME_BACK_TOMORROW: (429, {"Retry-After": "86400"}),
}
