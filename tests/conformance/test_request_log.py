"""Who asked, and how it ended, in the log of a real service: on a unix socket, over TLS, and under plain gunicorn."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders import Layout, make_layer, simple_layout
from tests.conformance.certificates import client_context, tls_settings
from tests.conformance.conftest import Service
from tests.conformance.plain_gunicorn import Gunicorn
from tests.ports import free_port
from tests.waiting import poll

BIG = 8 << 20
HEAD = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


@pytest.fixture(scope="module")
def running(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("request-log") / "stowage", free_port(), tls_settings(certificates))
    service.start()
    yield service
    service.stop()


def lines_of(service: Service, act: Callable[[], object], path: str) -> list[str]:
    """What was logged from the act until the line of a request with this path."""
    before = len(service.log.read_bytes())
    act()

    def logged() -> str:
        return service.log.read_bytes()[before:].decode()

    poll(lambda: f"path={path} " in logged(), seconds=30)
    return logged().splitlines()


def line_of(service: Service, act: Callable[[], object], path: str) -> str:
    """That line. No other is an error or part of a traceback."""
    *before, line = lines_of(service, act, path)
    assert [other for other in before if " ERROR " in other or other.startswith(" ")] == []
    return line


def connected(service: Service) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(service.socket))
    return connection


def ask(service: Service, request: str, body: bytes = b"") -> bytes:
    """The whole answer."""
    with connected(service) as connection:
        connection.sendall(f"{request} {HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_a_load_that_fails_says_why_and_who_asked(running: Service) -> None:
    line = line_of(running, lambda: ask(running, "POST /images/load", b"no archive"), "/images/load")
    assert " ERROR stowage.request method=POST path=/images/load status=200 " in line
    assert f'operation=load outcome=failed error=InvalidContent reason="unexpected EOF" uid={os.getuid()} pid={os.getpid()}' in line


def test_the_peer_over_tls_is_the_subject_of_its_certificate(running: Service, certificates: Path) -> None:
    def ping() -> None:
        context = client_context(certificates, "client")
        with (
            socket.create_connection(("localhost", running.port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(f"GET /_ping {HEAD}\r\n".encode())
            while connection.recv(1 << 16):
                pass

    line = line_of(running, ping, "/_ping")
    assert re.search(r' INFO stowage\.request .* status=200 .* address=127\.0\.0\.1:\d+ subject="CN=client"$', line)


def test_a_client_that_leaves_a_load_is_no_error(running: Service) -> None:
    archive = simple_layout().to_tar()

    def leave() -> None:
        with connected(running) as connection:
            connection.sendall(f"POST /images/load {HEAD}Content-Length: {len(archive)}\r\n\r\n".encode() + archive[:2000])

    line = line_of(running, leave, "/images/load")
    assert " INFO stowage.request " in line
    assert "operation=load outcome=client-left" in line


def test_chunks_that_make_no_sense_are_an_error(running: Service) -> None:
    def send() -> bytes:
        with connected(running) as connection:
            connection.sendall(f"POST /images/load {HEAD}Transfer-Encoding: chunked\r\n\r\nno chunk\r\n".encode())
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    assert 'outcome=failed error=InvalidContent reason="unexpected EOF"' in line_of(running, send, "/images/load")


@pytest.fixture(scope="module")
def big(running: Service) -> str:
    """The name of an image with a layer that no socket buffer holds."""
    layout, name = Layout(), "localhost:1/big:1"
    layout.tag(layout.image([make_layer("big", BIG)], compression="none"), name)
    assert f"Loaded image: {name}".encode() in ask(running, "POST /images/load", layout.to_tar())
    return name


def test_a_client_that_leaves_a_save_is_no_error(running: Service, big: str) -> None:
    def leave() -> None:
        with connected(running) as connection:
            connection.sendall(f"GET /images/get?names={big} {HEAD}\r\n".encode())
            assert connection.recv(1000)

    line = line_of(running, leave, "/images/get")
    assert " INFO stowage.request " in line
    assert f"operation=save image={big} outcome=client-left " in line


def test_a_push_that_fails_names_the_image(running: Service, big: str) -> None:
    line = line_of(running, lambda: ask(running, "POST /images/localhost:1/big/push?tag=1"), "/images/localhost:1/big/push")
    assert " ERROR stowage.request " in line
    assert f"operation=push image={big} outcome=failed error=RegistryFailure reason=" in line


def test_a_save_that_finds_a_blob_damaged_says_so_in_one_line(running: Service, big: str) -> None:
    (blob,) = [path for path in (running.root / "blobs/sha256").iterdir() if path.stat().st_size >= BIG]
    whole = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        line = line_of(running, lambda: ask(running, f"GET /images/{big}/get"), f"/images/{big}/get")
    finally:
        blob.write_bytes(whole)
    assert " ERROR stowage.request " in line
    assert re.search(rf"operation=save image={big} outcome=failed error=Damaged reason=\"[^\"]*{blob.name}[^\"]*\" uid=", line)


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Gunicorn]:
    service = Gunicorn(tmp_path / "stowage", free_port(), {"STOWAGE_LOG_LEVEL": "warning"})
    service.start()
    yield service
    service.stop()


def test_plain_gunicorn_has_the_same_log_at_the_same_level(plain: Gunicorn) -> None:
    def fail() -> None:
        for request, body in (("GET /_ping", b""), ("POST /images/load", b"no archive")):
            with socket.create_connection(("127.0.0.1", plain.port), timeout=20) as connection:
                connection.sendall(f"{request} {HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                while connection.recv(1 << 16):
                    pass

    *before, line = lines_of(plain, fail, "/images/load")
    assert [other for other in before if "stowage.request" in other] == []
    assert re.search(r" ERROR stowage\.request .* reason=\"unexpected EOF\" address=127\.0\.0\.1:\d+$", line)


@pytest.mark.parametrize(
    ("path", "host", "status"), [("/_ping", "localhost\r\nOrigin: https://foreign.example", "403"), ("/%zz", "localhost", "400")]
)
def test_a_head_that_is_refused_has_one_line(running: Service, path: str, host: str, status: str) -> None:
    def act() -> None:
        with connected(running) as connection:
            connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert connection.makefile("rb").read().startswith(f"HTTP/1.1 {status} ".encode())

    (line,) = lines_of(running, act, path)
    assert f"status={status} bytes=0" in line
