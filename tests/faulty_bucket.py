"""A reverse proxy before an S3 server that passes everything on, and answers as a test wants it to where a fault says so."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.seaweedfs import Seaweed

ALWAYS = 1 << 30
_HOP = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>as the test wants it</Message></Error>'


@dataclass
class Fault:
    """What happens to requests with this method whose target matches the pattern, `times` times, after `skip` that pass.

    `status` and `code` are answered instead of what the server says; with `instead_of` only if it answers with that status. If `hangs`,
    nothing is answered. `cut` passes on the server's answer with so many bytes of its body, and ends the connection; with `claims_whole`
    the headers are those of an answer that has no more bytes than these. `key` makes it a fault of requests signed with this access key.
    """

    method: str = ".*"
    target: str = ".*"
    times: int = ALWAYS
    skip: int = 0
    status: int = 0
    code: str = ""
    hangs: bool = False
    cut: int | None = None
    claims_whole: bool = False
    instead_of: int = 0
    key: str = ""
    met: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def matches(self, method: str, target: str, authorization: str) -> bool:
        return bool(
            re.fullmatch(self.method, method)
            and re.search(self.target, target)
            and (not self.key or f"Credential={self.key}/" in authorization)
        )


class FaultyBucket:
    """The proxy; `faults` may be changed at any time, and the first that matches a request counts.

    `seen` has the method, target and range of every request.
    """

    def __init__(self, behind: Seaweed, host: str = "127.0.0.1") -> None:
        self._behind, self._host = urlsplit(behind.endpoint), host
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str, str]] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                with suppress(OSError):  # the client has left
                    super().handle_one_request()
                    return
                self.close_connection = True

            def do_any(self) -> None:
                proxy._answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815 - names of http.server

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None: ...

        self._server = Server((host, 0), Handler)

    @property
    def endpoint(self) -> str:
        return f"http://{self._host}:{self._server.server_port}"

    def fail(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """From now on pass everything on; what hangs is cut."""
        with self._lock:
            faults, self.faults = self.faults, []
        for fault in faults:
            fault.over.set()

    @contextmanager
    def running(self) -> Iterator[FaultyBucket]:
        serving = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        try:
            yield self
        finally:
            self.heal()
            self._server.shutdown()
            self._server.server_close()
            serving.join()

    def _fault(self, asked: BaseHTTPRequestHandler) -> Fault | None:
        with self._lock:
            self.seen.append((asked.command, asked.path, asked.headers.get("Range") or ""))
            for fault in self.faults:
                if fault.matches(asked.command, asked.path, asked.headers.get("Authorization") or ""):
                    fault.met += 1
                    if fault.skip < fault.met <= fault.skip + fault.times:
                        return fault
        return None

    def _answer(self, asked: BaseHTTPRequestHandler) -> None:
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        fault = self._fault(asked)
        if fault and fault.hangs:
            fault.over.wait()
            asked.close_connection = True
            return
        if fault and fault.status and not fault.instead_of:
            self._refuse(asked, fault)
            return
        status, headers, content = self._pass_on(asked, body)
        if fault and fault.instead_of == status:
            self._refuse(asked, fault)
            return
        cut = fault.cut if fault else None
        length = len(content) if asked.command != "HEAD" else int(headers.get("content-length") or 0)
        sent = content if cut is None else content[:cut]
        asked.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                asked.send_header(name, value)
        asked.send_header("Content-Length", str(len(sent) if fault and fault.claims_whole else length))
        asked.end_headers()
        asked.wfile.write(sent)
        asked.close_connection = cut is not None

    def _pass_on(self, asked: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection(self._behind.netloc, timeout=60)
        try:
            connection.request(asked.command, asked.path, body, {**asked.headers, "Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def _refuse(self, asked: BaseHTTPRequestHandler, fault: Fault) -> None:
        content = _ERROR.format(code=fault.code).encode() if asked.command != "HEAD" else b""
        asked.send_response(fault.status)
        asked.send_header("Content-Type", "application/xml")
        asked.send_header("Content-Length", str(len(content)))
        asked.end_headers()
        asked.wfile.write(content)
