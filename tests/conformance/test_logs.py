"""What clients and registries can write into the log of a real service: printable text, in bounded lines."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance.conftest import Service, wait_for
from tests.conformance.test_edges import CLOSE, exchange, head, parse
from tests.ports import free_port

RECORD = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+ |\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[[A-Z]+\] )"
)
LINE = 4096


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("logs") / "stowage", free_port())
    service.start()
    assert service.process is not None
    wait_for(lambda: b" is ready on " in service.log.read_bytes(), service.process, "stowage")
    yield service
    service.stop()


def logged(service: Service, request: bytes) -> list[str]:
    """The lines that this request wrote: each begins a record or continues one, is printable and bounded."""
    before = len(service.log.read_bytes())
    exchange(service, request)
    lines = service.log.read_bytes()[before:].decode().removesuffix("\n").split("\n")
    assert [line for line in lines if not line.isprintable() or len(line) > LINE] == []
    assert [line for line in lines if not (RECORD.match(line) or line.startswith("    "))] == []
    return lines


def test_the_log_says_where_the_page_is(running: Service) -> None:
    assert f"; page http://127.0.0.1:{running.port}/ui/\n" in running.log.read_text()


FORGED = "2026-01-01 00:00:00,000 ERROR app.errors forged"


def test_a_path_cannot_forge_a_line(running: Service) -> None:
    path = f"/services/a%0d%0a{FORGED.replace(' ', '%20')}%1b[31m%7f%C2%85%E2%80%A8%E2%80%AE"
    lines = logged(running, head("GET", path, CLOSE))
    (line,) = lines
    assert " ERROR stowage.request method=GET path=/services/a%0d%0a2026" in line
    assert "status=503" in line


def test_a_path_of_line_breaks_is_one_line(running: Service) -> None:
    assert len(logged(running, head("GET", "/services/" + "%0a" * 100_000, CLOSE))) == 1


def test_a_long_path_is_cut_and_its_status_is_not(running: Service) -> None:
    (line,) = logged(running, head("GET", "/nope/" + "a" * 900_000, CLOSE))
    assert 'method=GET path="/nope/aaa' in line
    assert re.search(r'aaa\[cut, \d+ characters in all\]aaa+" status=404 bytes=\d+ ms=\d+ id=[0-9a-f]{16} address=127\.0\.0\.1:\d+$', line)


def test_a_name_cannot_forge_a_line_or_a_field(running: Service) -> None:
    name = f"a%0a{FORGED.replace(' ', '%20')}%22%20status=200%20x=%22%1b[31m"
    (line,) = logged(running, head("POST", f"/images/create?fromImage={name}", CLOSE, "Content-Length: 0"))
    assert r" status=400 bytes=39 ms=" in line
    assert rf'image="a\n{FORGED}\" status=200 x=\"\x1b[31m" address=' in line


def test_an_absent_route_says_why_it_fails(running: Service) -> None:
    (line,) = logged(running, head("GET", "/services/a", CLOSE))
    assert "status=503" in line and ' reason="' in line


@pytest.mark.parametrize("broken", [b"no header" + b"x" * 60_000, b"no header\x1b[31m\x80"], ids=["long", "control characters"])
def test_a_broken_header_is_one_line_of_the_server(running: Service, broken: bytes) -> None:
    (line,) = logged(running, b"GET /_ping HTTP/1.1\r\n" + broken + b"\r\n\r\n")
    assert "Invalid request from ip=127.0.0.1" in line


@contextmanager
def malformed_registry() -> Iterator[str]:
    """HOST:PORT of a server whose headers cannot be read: they end in lines of its own choice."""
    answer = f"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nX: y\r\nno header\x1b[31m {FORGED}\n\n{FORGED}\r\n\r\n".encode()

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_what_a_registry_sends_cannot_forge_a_line(running: Service) -> None:
    with malformed_registry() as registry:
        lines = logged(running, head("POST", f"/images/create?fromImage={registry}/a/b&tag=1", CLOSE, "Content-Length: 0"))
    assert any("Failed to parse headers" in line for line in lines)
    assert [line for line in lines if line.startswith(FORGED)] == []
    assert parse(exchange(running, head("GET", "/_ping", CLOSE)))[0] == 200
