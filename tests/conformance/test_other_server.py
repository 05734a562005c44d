"""`wsgi:application` under a server that Stowage did not configure: gunicorn's own command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.conftest import REPOSITORY, START_SECONDS, listens, wait_for
from tests.conformance.test_edges import CLOSE, head, message_of, parse
from tests.ports import free_port


@dataclass
class Server:
    port: int
    socket: Path
    log: Path

    def ask(self, request: bytes, *, unix: bool = False) -> tuple[int, str]:
        """The status and the message of the answer."""
        with socket.socket(socket.AF_UNIX) if unix else socket.socket() as connection:
            connection.settimeout(20)
            connection.connect(str(self.socket) if unix else ("127.0.0.1", self.port))
            connection.sendall(request)
            status, _, body = parse(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
        return status, message_of(body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("other"), free_port()
    server = Server(port, folder / "s.sock", folder / "log")
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--no-control-socket",
        "--bind",
        f"127.0.0.1:{port}",
        "--bind",
        f"unix:{server.socket}",
        "wsgi:application",
    ]
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env={**os.environ, "STOWAGE_ROOT": str(folder / "root")}, stdout=log, stderr=log
        )
    wait_for(lambda: listens(port), process, f"gunicorn (log: {server.log})")
    yield server
    process.terminate()
    process.wait(timeout=START_SECONDS)


@pytest.mark.parametrize("header", ["Via: x", "X-Forwarded-Proto: https"], ids=["plain", "as if over TLS"])
def test_a_foreign_host_is_refused_over_tcp(server: Server, header: str) -> None:
    status, message = server.ask(head("GET", "/_ping", CLOSE, header, host="evil.example"))
    assert (status, "STOWAGE_HOSTS" in message) == (403, True)
    assert server.ask(head("GET", "/_ping", CLOSE, header)) == (200, "OK")


def test_only_the_origin_counts_on_a_unix_socket(server: Server) -> None:
    assert server.ask(head("GET", "/_ping", CLOSE, host="evil.example"), unix=True) == (200, "OK")
    assert server.ask(head("GET", "/_ping", CLOSE, "Origin: http://evil.example"), unix=True)[0] == 403


def test_a_path_cannot_forge_a_line_of_the_log(server: Server) -> None:
    assert server.ask(head("GET", "/services/forging%0a[2026-01-01]%20forged%1b[31m", CLOSE))[0] == 503
    lines = server.log.read_text().removesuffix("\n").split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    (line,) = [line for line in lines if "forged" in line]
    assert " ERROR stowage.request method=GET path=/services/forging%0a[2026-01-01]%20forged%1b[31m status=503 " in line
