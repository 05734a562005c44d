"""Streams that end badly, over a socket to a real gunicorn."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.conftest import REPOSITORY, listens, wait_for
from tests.ports import free_port
from tests.waiting import poll

SERVER = """
import sys, time
from pathlib import Path
from stowage.app.server import connections, serving
from stowage.app.settings import Config
from stowage.app.server.serving import Server
from stowage.blueprints.routing import Answer
from stowage.blueprints.streaming import stream_progress, stream_tar
from stowage.services.errors import InvalidContent
from stowage.services.progress import Progress

def broken_tar():
    yield b"x" * 1000
    raise InvalidContent("lost")

def endless(note):
    try:
        while True:
            time.sleep(0.05)
            yield Progress()
    finally:
        Path(note).write_text("closed")

class Streams(Server):
    def load(self):
        app = super().load()
        app.add_url_rule("/tar", "tar", lambda: stream_tar(broken_tar()), methods=["GET"], answer=Answer())
        app.add_url_rule("/endless", "endless", lambda: stream_progress(endless(sys.argv[1])), methods=["GET", "POST"], answer=Answer())
        loading = lambda: stream_progress(endless(sys.argv[1]), reads_body=True, errors_in_stream=True)
        app.add_url_rule("/loading", "loading", loading, methods=["POST"], answer=Answer())
        return app

connections.HEAD_SECONDS = 0.5
serving.Server = Streams
serving.serve(Config.from_environ())
"""


@pytest.fixture(scope="module")
def note(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the endless stream writes when it is closed."""
    return tmp_path_factory.mktemp("streams") / "note"


@pytest.fixture(scope="module")
def port(note: Path) -> Iterator[int]:
    port = free_port()
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "STOWAGE_BIND": f"127.0.0.1:{port}", "STOWAGE_WORKERS": "1"}
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(note)], cwd=note.parent, env=environ)
    wait_for(lambda: listens(port), process, "gunicorn")
    yield port
    process.terminate()
    process.wait(timeout=30)


def test_a_tar_that_breaks_has_no_end(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /tar HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        try:
            while chunk := connection.recv(1 << 16):
                answer += chunk
        except ConnectionResetError:
            pass
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"x" * 1000 + b"\r\n")


@pytest.mark.parametrize("request_line", [b"GET /endless", b"POST /endless", b"POST /loading"])
def test_a_progress_whose_client_goes_away_is_closed_though_it_has_nothing_to_say(port: int, note: Path, request_line: bytes) -> None:
    note.unlink(missing_ok=True)
    body = b"Content-Length: 2\r\n\r\n{}" if request_line.startswith(b"POST") else b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request_line + b" HTTP/1.1\r\nHost: localhost\r\n" + body)
    poll(lambda: note.exists() and note.read_text(), seconds=30)
    assert note.read_text() == "closed"


@pytest.mark.parametrize("head", [b"GET /tar HTT", b"GET /tar HTTP/1.1\r\nHost: loc"])
def test_a_connection_whose_head_does_not_come_is_ended(port: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head)
        assert connection.recv(1 << 16) == b""


def test_a_body_may_take_its_time(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"POST /images/load HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1024\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port), timeout=20) as late:
            late.sendall(b"GET /")
            assert late.recv(1) == b""
        connection.sendall(bytes(1024))
        assert b'"errorDetail"' in b"".join(iter(lambda: connection.recv(1 << 16), b""))
