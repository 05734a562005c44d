"""A real service as load balancers see it: ready, with a broken store, and while it stops."""

from __future__ import annotations

import socket
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conformance.certificates import tls_settings
from tests.conformance.conftest import Service, listens
from tests.ports import free_port
from tests.waiting import poll


@pytest.fixture
def health(tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    running = Service(tmp_path / "stowage", free_port(), {"STOWAGE_HEALTH_BIND": f"127.0.0.1:{port}"})
    running.start()
    yield running
    running.stop()


def address(service: Service) -> str:
    return service.environment["STOWAGE_HEALTH_BIND"]


def ask(service: Service, path: str) -> tuple[int, str]:
    """Status and body of the health address's answer."""
    try:
        with urllib.request.urlopen(f"http://{address(service)}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_every_worker_answers_probes_and_nothing_else(health: Service) -> None:
    answers = {ask(health, path) for path in ["/healthz", "/readyz"] * 20}
    assert answers == {(200, "ok\n")}
    assert {ask(health, path)[0] for path in ["/_ping", "/images/json", "/v1.45/info"] * 5} == {404}
    assert f"; health on {address(health)}; folder " in health.log.read_text()


def test_a_store_without_its_blobs_is_not_ready_until_they_are_back(health: Service) -> None:
    blobs = health.root / "blobs"
    blobs.rename(health.root / "elsewhere")
    poll(lambda: ask(health, "/readyz") == (503, "The content store cannot take a blob: No such file or directory.\n"))
    assert ask(health, "/healthz") == (200, "ok\n")
    assert health.docker("version").returncode == 0
    (health.root / "elsewhere").rename(blobs)
    poll(lambda: ask(health, "/readyz") == (200, "ok\n"))


def test_a_service_that_stops_says_so_until_its_last_request_has_ended(health: Service) -> None:
    assert health.process is not None
    with socket.create_connection(("127.0.0.1", health.port), timeout=20) as upload:
        upload.sendall(b"POST /images/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        assert upload.recv(1 << 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        health.process.terminate()
        poll(lambda: ask(health, "/readyz") == (503, "The service is stopping.\n"))
        assert ask(health, "/healthz") == (200, "ok\n")
        poll(lambda: not listens(health.port))
        upload.sendall(b"no images")
        assert upload.recv(1 << 10).startswith(b"HTTP/1.1 200")
    health.process.wait(timeout=20)
    assert not listens(int(address(health).rpartition(":")[2]))


def test_a_probe_that_has_begun_is_answered_by_a_service_that_stops(tmp_path: Path) -> None:
    assert any(b"HTTP/1.1 503 " in answer_of_a_stopping_service(tmp_path / f"attempt-{number}") for number in range(3))


def answer_of_a_stopping_service(root: Path) -> bytes:
    """What a probe gets that was half sent before the stop; nothing if the rest takes this machine seconds."""
    port = free_port()
    service = Service(root, free_port(), {"STOWAGE_HEALTH_BIND": f"127.0.0.1:{port}", "STOWAGE_WORKERS": "1"})
    service.start()
    try:
        assert service.process is not None
        with socket.create_connection(("127.0.0.1", port), timeout=20) as probe:
            probe.sendall(b"GET /readyz HTTP/1.1\r\n")
            assert ask(service, "/readyz") == (200, "ok\n")  # so the first connection has been accepted too
            service.process.terminate()
            poll(lambda: not listens(service.port))
            answer = b""
            with suppress(ConnectionError):
                probe.sendall(b"Host: localhost\r\n\r\n")
                answer = probe.recv(1 << 10)
        assert service.process.wait(timeout=20) == 0
        return answer
    finally:
        service.stop()


def test_a_service_with_client_certificates_is_probed_without_one(certificates: Path, tmp_path: Path) -> None:
    path = tmp_path / "health.sock"
    service = Service(tmp_path / "stowage", free_port(), {**tls_settings(certificates), "STOWAGE_HEALTH_BIND": f"unix:{path}"})
    service.start()
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(path))
            connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            assert connection.recv(1 << 10).startswith(b"HTTP/1.0 200 ")
    finally:
        service.stop()
    assert not path.exists()


def test_an_address_that_is_taken_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        service = Service(tmp_path / "stowage", free_port(), {"STOWAGE_HEALTH_BIND": bind})
        done = service.run("serve")
    assert (done.returncode, done.stderr) == (2, f"stowage: STOWAGE_HEALTH_BIND: cannot listen on {bind}: Address already in use.\n")


def test_a_private_service_does_not_take_the_health_address(health: Service, tmp_path: Path) -> None:
    other = Service(tmp_path / "other", 0, health.environment)
    assert other.run("run", "--", "docker", "version").returncode == 0
