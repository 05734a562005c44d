"""What the servers in this process share: plain HTTP, or TLS with the self-signed certificate beside this file.

A client that begins with TLS on the plain port is hung up on.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CERTIFICATE = Path(__file__).with_name("certificate.pem")
_TLS_HANDSHAKE = b"\x16"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


class Handler(BaseHTTPRequestHandler):
    """Answers on one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    tls: bool

    def setup(self) -> None:
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.request = context.wrap_socket(self.request, server_side=True, do_handshake_on_connect=False)
        super().setup()

    def handle(self) -> None:
        try:
            if self.tls:
                self.request.do_handshake()
            elif self.request.recv(1, socket.MSG_PEEK) == _TLS_HANDSHAKE:
                return
            super().handle()
        except OSError:
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            self.close_connection = True
        self.request.close()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(handler: type[Handler], **attributes: object) -> Iterator[str]:
    """Run a server on loopback whose handlers have these attributes, `tls` among them; gives its `address:port`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), attributes))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
