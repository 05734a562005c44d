"""Clients that stop and registries that drip, at a real service: they hold up nobody else, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.builders import Layout, make_tar, simple_layout
from tests.conformance.conftest import Service, needs, skopeo
from tests.fake_registry import FakeRegistry
from tests.fake_registry.slow import Slowness
from tests.ports import free_port
from tests.resources import sockets
from tests.waiting import poll

PULLS = 20
LISTENERS = 2
THREADS = 64
"""Of a worker, which makes them as it needs them and keeps them."""
NAME = "docker.io/library/stalled:1"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of one worker that waits for a moment only."""
    settings = {"STOWAGE_WORKERS": "1", "STOWAGE_STALL_SECONDS": "2", "STOWAGE_CLIENT_IDLE_SECONDS": "3600"}
    running = Service(tmp_path / "stowage", free_port(), settings)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Service]:
    """A service that gives up idle clients after a second."""
    running = Service(tmp_path / "impatient", free_port(), {"STOWAGE_WORKERS": "1", "STOWAGE_CLIENT_IDLE_SECONDS": "1"})
    running.start()
    yield running
    running.stop()


def large_image() -> Layout:
    """An image with a layer that does not compress, and that skopeo leaves as it is."""
    layout = Layout()
    layout.tag(layout.image([make_tar({"data": random.Random(1).randbytes(8 << 20)})]), NAME)
    return layout


@contextlib.contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(service.socket))
        yield connection


def load_head(length: int) -> bytes:
    lines = [
        "POST /images/load HTTP/1.1",
        "Host: docker",
        "Content-Type: application/x-tar",
        "Connection: close",
        f"Content-Length: {length}",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def worker(service: Service) -> int:
    """The process id of the one worker."""
    assert service.process is not None
    [pid] = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return int(pid)


def partials(service: Service) -> int:
    """Bytes of the blobs that are on their way."""
    return sum(path.stat().st_size for path in (service.root / "ingest").glob("*/data"))


def test_half_a_load_holds_up_no_pull_of_the_same_layer(service: Service, registry: str, tmp_path: Path) -> None:
    archive = large_image().to_tar()
    (tmp_path / "image.tar").write_bytes(archive)
    skopeo("copy", "--dest-tls-verify=false", f"oci-archive:{tmp_path}/image.tar", f"docker://{registry}/stalls/large:1")
    with connected(service) as loading:
        loading.sendall(load_head(len(archive)) + archive[: len(archive) // 2])
        poll(lambda: partials(service) > 1 << 20)
        pulled = service.docker("pull", f"{registry}/stalls/large:1")
        assert b"Downloaded newer image" in pulled.stdout
        loading.sendall(archive[len(archive) // 2 :])
        answer = b"".join(iter(lambda: loading.recv(1 << 16), b""))
        assert b"Loaded image: stalled:1" in answer
    assert service.run("verify").returncode == 0


def test_cancelled_pulls_of_a_registry_that_drips_leave_no_thread_and_no_socket(service: Service) -> None:
    with FakeRegistry().serve() as registry:
        layout = simple_layout()
        name = registry.publish(layout, layout.manifests[0])
        service.docker("images")
        pid = worker(service)
        poll(lambda: sockets(pid) == LISTENERS)
        for slowness in (Slowness.DRIP_HEADERS, Slowness.STALL):
            registry.slow = {"1": slowness}
            with contextlib.ExitStack() as pulls:
                for _ in range(PULLS):
                    connection = pulls.enter_context(connected(service))
                    connection.sendall(f"POST /images/create?fromImage={quote(name)}&tag=1 HTTP/1.1\r\nHost: docker\r\n\r\n".encode())
                poll(lambda: sockets(pid) >= LISTENERS + 2 * PULLS)
            poll(lambda: sockets(pid) == LISTENERS)
        poll(lambda: len(os.listdir(f"/proc/{pid}/task")) <= THREADS + 2)


def test_a_load_that_does_not_go_on_is_told_and_leaves_nothing(impatient: Service) -> None:
    archive = large_image().to_tar()
    with connected(impatient) as loading:
        loading.sendall(load_head(len(archive)) + archive[: len(archive) // 2])
        answer = b"".join(iter(lambda: loading.recv(1 << 16), b""))
    assert b"the client sent nothing of the request's body for 1 seconds" in answer
    poll(lambda: partials(impatient) == 0)


def test_a_client_that_takes_nothing_is_given_up(impatient: Service) -> None:
    archive = large_image().to_tar()
    impatient.docker("load", stdin=archive)
    pid = worker(impatient)
    poll(lambda: sockets(pid) == LISTENERS)
    with connected(impatient) as saving:
        saving.sendall(b"GET /images/stalled:1/get HTTP/1.1\r\nHost: docker\r\n\r\n")
        assert saving.recv(1, socket.MSG_PEEK)
        poll(lambda: sockets(pid) == LISTENERS)


def test_a_client_that_comes_back_after_a_pause_between_requests_is_answered(impatient: Service) -> None:
    with connected(impatient) as connection, subprocess.Popen(["sleep", "1.5"]) as pause:
        for _ in range(2):
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\nOK"):
                piece = connection.recv(1 << 16)
                assert piece
                answer += piece
            pause.wait()


def test_connections_over_tcp_are_kept_alive(service: Service) -> None:
    needs("ss")
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1)
        port = connection.getsockname()[1]
        shown = subprocess.run(["ss", "-tno", f"dport = :{port}"], capture_output=True, text=True, check=True).stdout
    assert "timer:(keepalive," in shown
