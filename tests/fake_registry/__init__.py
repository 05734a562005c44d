"""A registry in this process, serving what `tests.builders` makes, with faults by name.

Every request is kept in `requests`, so that a test can tell what was asked, and with which headers.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from stowage.services.oci import mediatypes
from tests.builders import Json, Layout, digest_of
from tests.fake_registry.answers import Answer as Answer
from tests.fake_registry.answers import Document as Document
from tests.fake_registry.server import Request, serving
from tests.fake_registry.slow import Slowness, answer_slowly, drip, send_at
from tests.fake_registry.uploads import ENDLESS, UploadHandler, Uploads

TOKEN = "a-token-that-opens"


class Fault(StrEnum):
    """What a registry can do wrong with one blob, manifest or tag."""

    WRONG_BYTES = "other bytes of the same length"
    SHORT_BODY = "half of the bytes, and a length that says so"
    LONG_BODY = "one byte more, and a length that says so"
    DROPPED = "half of the bytes, then the connection is gone"
    LYING_LENGTH = "a HEAD that tells one byte more than there is"
    LYING_DIGEST = "a Docker-Content-Digest of something else"
    MALFORMED_DIGEST = "a Docker-Content-Digest that is none"
    NO_DIGEST = "no Docker-Content-Digest"
    NO_HEAD = "405 to HEAD"
    UNSIZED = "chunked transfer, without a length"
    ABSENT = "404"
    UNAUTHORIZED = "401 without a challenge"
    FORBIDDEN = "403 with the registry's words"
    TOO_MANY_REQUESTS = "429 with the registry's words"
    BROKEN = "500 with a page"
    REDIRECTED = "307 to `redirect_to`"
    ENDLESS_REDIRECT = "307 to itself"
    NO_RANGES = "200 to a Range"
    OTHER_RANGE = "206 of another range"
    OVERSIZED = "5 MiB of spaces behind the document"
    HTML = "200 with a page"
    GENERAL_TYPE = "Content-Type application/json"
    SCHEMA1 = "Content-Type of a signed schema 1 manifest"
    STALLED = "half of the bytes, then nothing until `resume` is set, then the connection is gone"
    RESET = "half of the bytes, then the connection is reset"
    UNFRAMED = "half of the bytes without a length, then the connection is gone"
    SLOW_START = "no answer until `resume` is set"
    SILENT = "no answer, the connection is gone"
    BUSY = "503 with a page"
    COME_BACK = "429 with Retry-After: 0"
    COME_BACK_TOMORROW = "429 with Retry-After: 86400"
    NOT_THAT_FAR = "416 to a Range"
    MALFORMED_RANGE = "400 to a Range"
    UNKNOWN_RANGE = "501 to a Range"
    UNSTATED_RANGE = "206 without a Content-Range"
    ENDLESS_RANGE = "206 with a Content-Range of 5000 digits"
    MALFORMED_LINK = "a next page of the list of tags that is at no URL"
    ENDLESS_LENGTH = "a HEAD that tells a Content-Length of 5000 digits"
    WAITING = "half of the bytes, then nothing until `resume` is set, then the rest"


@dataclass
class FakeRegistry:
    """One registry; `auth` is "", "basic" (`user:password`) or "bearer" (a token from /token, given to anyone or to that user).

    `faults` and `answers` stay, the faults of `passing` happen to one request each. A token server that `echoes` refuses with what it was
    sent. `sent` counts the bytes of bodies. A blob of `rates` comes with so many bytes a second. A blob of `pause_after` comes up to that
    byte, and the rest when `resume` is set. `slow` is by the last part of a path.
    """

    auth: str = ""
    user: str = ""
    tls: bool = False
    token_realm: str = ""
    redirect_to: str = ""
    tags_per_page: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], Document] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    passing: dict[str, list[Fault]] = field(default_factory=dict)
    slow: dict[str, Slowness] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    token: str = TOKEN
    identity_token: str = ""
    token_lifetime: int = 0
    challenge: str = ""
    echoes: bool = False
    sent: int = 0
    rates: dict[str, int] = field(default_factory=dict)
    pause_after: dict[str, int] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    resume: threading.Event = field(default_factory=threading.Event)
    stalled: threading.Event = field(default_factory=threading.Event)
    uploads: Uploads = field(default_factory=Uploads)
    host: str = ""

    @property
    def base(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def publish(self, layout: Layout, descriptor: Json, repository: str = "team/app", tag: str = "1") -> str:
        """Serve every blob of the layout, its manifests by digest, and one of them under a tag; returns `host/repository`."""
        self.blobs |= layout.blobs
        for content in layout.blobs.values():
            media_type = _manifest_type(content)
            if media_type:
                self.manifests[repository, digest_of(content)] = Document(media_type, content)
        self.manifests[repository, tag] = Document(descriptor["mediaType"], layout.blobs[descriptor["digest"]])
        return f"{self.host}/{repository}"

    def fault(self, reference: str) -> Fault | None:
        """What is wrong with the next answer about this."""
        passing = self.passing.get(reference)
        return passing.pop(0) if passing else self.faults.get(reference)

    def keep_manifest(self, repository: str, reference: str, media_type: str, content: bytes) -> None:
        """Serve a manifest that was pushed."""
        for name in (reference, digest_of(content)):
            self.manifests[repository, name] = Document(media_type, content)

    def tags(self, repository: str) -> list[str]:
        return [reference for name, reference in self.manifests if name == repository and ":" not in reference]

    def asked(self, *methods: str) -> list[str]:
        """`METHOD last-part-of-path` of each request, of these methods or all."""
        return [
            f"{request.method} {request.path.rpartition('/')[2]}"
            for request in self.requests
            if request.method in (methods or (request.method,))
        ]

    @contextmanager
    def serve(self) -> Iterator[FakeRegistry]:
        with serving(_Handler, registry=self, tls=self.tls) as self.host:
            try:
                yield self
            finally:
                self.resume.set()


def _manifest_type(content: bytes) -> str:
    if not content.startswith(b'{"schemaVersion"'):
        return ""
    return str(json.loads(content).get("mediaType", ""))


class _Handler(UploadHandler, BaseHTTPRequestHandler):
    """The distribution API."""

    registry: FakeRegistry

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self._noted():
            self._route(urlsplit(self.path).path)

    def _noted(self) -> bool:
        url = urlsplit(self.path)
        self.registry.requests.append(Request(self.command, url.path, parse_qs(url.query), dict(self.headers.items())))
        slowness = self.registry.slow.get(self._last_part)
        if slowness not in (None, Slowness.DRIP):
            answer_slowly(self.connection, slowness, self.registry.stalled)
        if url.path == "/token":
            self._token()
            return False
        if not self._is_authorized():
            return False
        answer = self.registry.answers.get(self._last_part)
        if answer is not None:
            self._send(answer.status, answer.body, answer.headers)
        return answer is None

    def _route(self, path: str) -> None:
        if path == "/v2/":
            self._serve("", Document("application/json", b"{}"), "UNSUPPORTED")
            return
        if "/blobs/uploads/" in path:
            self.upload_state(path)
            return
        name, _, rest = path.removeprefix("/v2/").rpartition("/manifests/")
        if name:
            self._serve(rest, self.registry.manifests.get((name, rest)), "MANIFEST_UNKNOWN")
            return
        name, _, rest = path.removeprefix("/v2/").rpartition("/blobs/")
        if name:
            content = self.registry.blobs.get(rest)
            self._serve(rest, Document("application/octet-stream", content) if content is not None else None, "BLOB_UNKNOWN")
            return
        self._tags(path.removeprefix("/v2/").removesuffix("/tags/list"))

    def _tags(self, name: str) -> None:
        found, page, fault = self.registry.tags(name), self.registry.tags_per_page, self.registry.fault("list")
        if not found:
            self._error(404, "NAME_UNKNOWN", "repository name not known to registry", detail={"name": name})
            return
        start = int(parse_qs(urlsplit(self.path).query).get("last", ["0"])[0])
        end = start + page if page else len(found)
        host = "//[" if fault is Fault.MALFORMED_LINK else ""
        headers = {"Link": f'<{host}/v2/{name}/tags/list?last={end}>; rel="next"'} if end < len(found) else {}
        body = json.dumps({"name": name, "tags": found[start:end]}).encode()
        self._send(200, body, {"Content-Type": "application/json", **headers}, fault)

    def _serve(self, reference: str, document: Document | None, unknown: str) -> None:
        fault = self.registry.fault(reference)
        if fault is Fault.SILENT:
            self.close_connection = True
            return
        if fault is Fault.SLOW_START:
            self.registry.stalled.set()
            self.registry.resume.wait(30)
        self._answer(fault, reference, document, unknown)

    def _answer(self, fault: Fault | None, reference: str, document: Document | None, unknown: str) -> None:
        if document is None or fault is Fault.ABSENT:
            self._error(404, unknown, "not known to registry", detail={"Tag": reference})
        elif fault in _REFUSALS:
            self._error(*_REFUSALS[fault])
        elif fault is Fault.BROKEN:
            self._send(500, b"<html>oops</html>", {"Content-Type": "text/html"})
        elif fault in (Fault.REDIRECTED, Fault.ENDLESS_REDIRECT):
            target = self.path if fault is Fault.ENDLESS_REDIRECT else self.registry.redirect_to + self.path + "?signature=secret"
            self._send(307, b"", {"Location": target})
        elif fault in _LATER:
            status, headers = _LATER[fault]
            self._send(status, b"<html>later</html>", {"Content-Type": "text/html", **headers})
        elif fault in _RANGE_REFUSALS and "Range" in self.headers:
            self._send(_RANGE_REFUSALS[fault], b"", {})
        elif fault is Fault.NO_HEAD and self.command == "HEAD":
            self._send(405, b"", {})
        else:
            self._serve_content(document, fault)

    def _serve_content(self, document: Document, fault: Fault | None) -> None:
        content = _faulty(document.content, fault)
        headers = {"Content-Type": _CONTENT_TYPES.get(fault, document.media_type) if fault else document.media_type}
        if fault is not Fault.NO_DIGEST:
            headers["Docker-Content-Digest"] = {
                Fault.LYING_DIGEST: digest_of(b"something else"),
                Fault.MALFORMED_DIGEST: "sha256:../x",
            }.get(fault or Fault.ABSENT, digest_of(document.content))
        offset = self._offset(fault)
        status = 206 if offset else 200
        if offset and fault is not Fault.UNSTATED_RANGE:
            begin = {Fault.OTHER_RANGE: str(offset + 1), Fault.ENDLESS_RANGE: ENDLESS}.get(fault or Fault.ABSENT, str(offset))
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self._send(status, content[offset:], headers, fault)

    def _offset(self, fault: Fault | None) -> int:
        asked = self.headers.get("Range", "")
        return 0 if fault is Fault.NO_RANGES or not asked else int(asked.removeprefix("bytes=").removesuffix("-"))

    def _send(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault is Fault.UNSIZED:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            return
        if fault is Fault.UNFRAMED:
            self.end_headers()
            self._write(body[: len(body) // 2])
            self.close_connection = True
            return
        lies = fault is Fault.LYING_LENGTH and self.command == "HEAD"
        endless = fault is Fault.ENDLESS_LENGTH and self.command == "HEAD"
        self.send_header("Content-Length", ENDLESS if endless else str(len(body) + lies))
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(body) // 2 if fault else 0
        self._write(body[:half])
        if fault in (Fault.STALLED, Fault.WAITING):
            self.registry.stalled.set()
            self.registry.resume.wait(30)
        if fault is Fault.RESET:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if fault in (Fault.DROPPED, Fault.STALLED, Fault.RESET):
            self.close_connection = True
            return
        self._write(body[half:])

    @property
    def _last_part(self) -> str:
        return urlsplit(self.path).path.rpartition("/")[2]

    def _write(self, content: bytes) -> None:
        if content and self._last_part in self.registry.slow:
            drip(self.connection, content, self.registry.stalled)
            return
        if rate := self.registry.rates.get(self._last_part):
            send_at(rate, self.connection, content)
            return
        limit = self.registry.pause_after.get(self._last_part)
        if limit is not None and len(content) > limit:
            self.wfile.write(content[:limit])
            self.registry.stalled.set()
            self.registry.resume.wait(30)
            content = content[limit:]
        self.wfile.write(content)
        self.registry.sent += len(content)

    def _error(self, status: int, code: str, message: str, **fields: Any) -> None:
        self._send(
            status, json.dumps({"errors": [{"code": code, "message": message, **fields}]}).encode(), {"Content-Type": "application/json"}
        )

    def _is_authorized(self) -> bool:
        registry = self.registry
        expected = {"bearer": f"Bearer {registry.token}", "basic": _basic(registry.user)}.get(registry.auth, "")
        sent = self.headers.get("Authorization", "")
        if not expected or sent == expected:
            return True
        challenge = (
            f'Bearer realm="{registry.token_realm or registry.base + "/token"}",service="fake"'
            if registry.auth == "bearer"
            else 'Basic realm="fake"'
        )
        challenge = registry.challenge or challenge
        if sent:
            challenge += ',error="insufficient_scope"' if registry.auth == "bearer" else ""
        self._send(401, b"", {"WWW-Authenticate": challenge})
        return False

    def _token(self) -> None:
        registry = self.registry
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        form = parse_qs(body.decode())
        if answer := registry.answers.get("token"):
            self._send(answer.status, answer.body, answer.headers)
            return
        if registry.echoes:
            self._error(401, "UNAUTHORIZED", f"what is {self.headers.get('Authorization')} {body.decode()}")
            return
        if form:
            opens = form["grant_type"] == ["refresh_token"] and form["refresh_token"] == [registry.identity_token]
        else:
            opens = not registry.user or self.headers.get("Authorization") == _basic(registry.user)
        granted: dict[str, Any] = {"token": registry.token if opens else "a-token-for-nothing"}
        if registry.token_lifetime:
            granted["expires_in"] = registry.token_lifetime
        if "offline_token" in self.path:
            granted["refresh_token"] = registry.identity_token
        self._send(200, json.dumps(granted).encode(), {"Content-Type": "application/json"})


def _basic(user: str) -> str:
    return "Basic " + base64.b64encode(user.encode()).decode()


def _faulty(content: bytes, fault: Fault | None) -> bytes:
    match fault:
        case Fault.WRONG_BYTES:
            return bytes(byte ^ 1 for byte in content)
        case Fault.SHORT_BODY:
            return content[: len(content) // 2]
        case Fault.LONG_BODY:
            return content + b"\n"
        case Fault.OVERSIZED:
            return content + b" " * (5 << 20)
        case Fault.HTML:
            return b"<html>Please log in</html>"
    return content


_REFUSALS = {
    Fault.UNAUTHORIZED: (401, "UNAUTHORIZED", "authentication required"),
    Fault.FORBIDDEN: (403, "DENIED", "requested access to the resource is denied"),
    Fault.TOO_MANY_REQUESTS: (429, "TOOMANYREQUESTS", "You have reached your pull rate limit."),
}
_RANGE_REFUSALS: dict[Fault | None, int] = {Fault.NOT_THAT_FAR: 416, Fault.MALFORMED_RANGE: 400, Fault.UNKNOWN_RANGE: 501}
_LATER: dict[Fault | None, tuple[int, dict[str, str]]] = {
    Fault.BUSY: (503, {}),
    Fault.COME_BACK: (429, {"Retry-After": "0"}),
    Fault.COME_BACK_TOMORROW: (429, {"Retry-After": "86400"}),
}
_CONTENT_TYPES = {
    Fault.HTML: "text/html; charset=utf-8",
    Fault.GENERAL_TYPE: "application/json",
    Fault.SCHEMA1: mediatypes.DOCKER_MANIFEST_V1_SIGNED,
}
