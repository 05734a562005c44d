"""Connections that are idle, slow or many, and what a real service does for everyone else meanwhile.

One worker of few threads, so that an attack needs few connections; who asks meanwhile has as much patience as a client's health check.
"""

from __future__ import annotations

import lzma
import os
import random
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from stowage.app.server.seats import QUICK_THREADS
from tests.builders import Layout, make_layer, make_tar
from tests.conformance.certificates import client_context, tls_settings
from tests.conformance.conftest import Service, needs
from tests.conformance.front import NGINX, fronted
from tests.conformance.test_edges import CLOSE, head, parse
from tests.conformance.test_tls import ping
from tests.key_updates import KeyUpdates
from tests.ports import free_port

THREADS = 8
MANY = 5 * THREADS
PATIENCE = 5
FRAGMENT = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"
"""The first nine bytes of a ClientHello."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("starved")) as service:
        yield service


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Service]:
    service = Service(folder / "stowage", free_port(), {"STOWAGE_WORKERS": "1", "STOWAGE_THREADS": str(THREADS), **settings})
    service.start()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def attack() -> Iterator[ExitStack]:
    """Connections that stay open until the test ends."""
    with ExitStack() as connections:
        yield connections


def over_unix(service: Service) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(str(service.socket))
    return connection


def over_tcp(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)


def ask(connection: socket.socket, request: bytes) -> bytes:
    """Everything that comes back until the connection is closed, within the client's patience."""
    with connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def assert_served(service: Service) -> None:
    """A few times, since one may be lucky."""
    for _ in range(3):
        assert parse(ask(over_unix(service), head("GET", "/_ping", CLOSE)))[2] == b"OK"


def archive(name: str) -> bytes:
    layout = Layout()
    layout.tag(layout.image([make_layer(name)]), f"docker.io/library/{name}:1")
    return layout.to_tar()


def begin_upload(connection: socket.socket, content: bytes) -> None:
    """Send a load but for its last byte."""
    connection.sendall(head("POST", "/images/load", CLOSE, f"Content-Length: {len(content)}") + content[:-1])


def test_listeners_over_tcp_leave_places_to_the_unix_socket(running: Service, attack: ExitStack) -> None:
    heads = []
    for _ in range(MANY):
        connection = attack.enter_context(over_tcp(running))
        connection.sendall(head("GET", "/events"))
        heads.append(connection.recv(12))
    assert heads.count(b"HTTP/1.1 200") == THREADS // 4 // 2
    with over_unix(running) as listener:
        listener.sendall(head("GET", "/events"))
        assert listener.recv(12) == b"HTTP/1.1 200"


def test_streams_held_open_over_tcp_leave_memory_to_the_unix_socket(tmp_path: Path, attack: ExitStack) -> None:
    stored = lzma.compress(make_tar({"data": random.Random(1).randbytes(1 << 20)}), preset=6)  # a window of 8 MiB
    with serving(tmp_path, STOWAGE_REQUEST_MEMORY=str(40 << 20)) as service:
        holding = [attack.enter_context(over_tcp(service)) for _ in range(THREADS)]
        for number, connection in enumerate(holding):
            connection.sendall(_import(f"held{number}", stored)[:-1000])
        assert select.select(holding, [], [], 60)[0]  # TCP clients have taken all that they get
        with over_unix(service) as connection:
            connection.settimeout(60)
            assert parse(ask(connection, _import("local", stored)))[0] == 200


def _import(name: str, stored: bytes) -> bytes:
    return head("POST", f"/images/create?fromSrc=-&repo={name}", CLOSE, f"Content-Length: {len(stored)}") + stored


def test_beginnings_of_tls_hold_up_nobody(tmp_path: Path, certificates: Path, attack: ExitStack) -> None:
    with serving(tmp_path, **tls_settings(certificates)) as service:
        for _ in range(MANY):
            attack.enter_context(over_tcp(service)).sendall(FRAGMENT)
        assert_served(service)
        assert ping(service, certificates, "client") == 200


@pytest.mark.parametrize("begin", [head("GET", "/_ping")[:20], head("POST", "/images/load", "Content-Length: 1024")], ids=["head", "body"])
def test_floods_of_key_updates_hold_up_nobody(tmp_path: Path, certificates: Path, begin: bytes) -> None:
    content = archive("flooded")
    with serving(tmp_path, **tls_settings(certificates)) as service, floods(service, certificates, begin) as flooding:
        assert_served(service)  # the service listens before it has a worker
        workers = worker_pids(service)
        for _ in range(15):
            assert_served(service)
            assert ping(service, certificates, "client") == 200
            flooding.wait(1)
        with client_context(certificates, "client").wrap_socket(over_tcp(service), server_hostname="localhost") as upload:
            begin_upload(upload, content)
            assert b"Loaded image: flooded:1" in ask(upload, content[-1:])
        assert worker_pids(service) == workers


def worker_pids(service: Service) -> list[int]:
    assert service.process is not None
    return [int(pid) for pid in Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()]


@contextmanager
def floods(service: Service, certificates: Path, begin: bytes) -> Iterator[threading.Event]:
    """Eight clients that begin a request and then only update their keys; they connect again when they are cut. The event ends them."""
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            with KeyUpdates(over_tcp(service), certificates / "client.pem", certificates / "client.key") as client:
                if client.shake() and client.send(begin):
                    while not over.is_set() and client.update():
                        pass

    threads = [threading.Thread(target=flood) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield over
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_silent_connections_hold_up_nobody(running: Service, attack: ExitStack) -> None:
    for _ in range(MANY):
        attack.enter_context(over_tcp(running))
        attack.enter_context(over_unix(running))
    assert_served(running)
    assert parse(ask(over_tcp(running), head("GET", "/_ping", CLOSE)))[2] == b"OK"


def test_heads_that_drip_hold_up_nobody(running: Service, attack: ExitStack) -> None:
    dripping = [attack.enter_context(open_(running)) for _ in range(MANY // 2) for open_ in (over_tcp, over_unix)]
    for byte in head("GET", "/_ping"):
        for connection in dripping[1:]:
            connection.send(bytes([byte]))
        if byte in b"/H\n":
            assert_served(running)
    assert {connection.recv(1 << 16)[:15] for connection in dripping[1:]} == {b"HTTP/1.1 200 OK"}


def test_clients_that_do_not_close_after_the_answer_hold_up_nobody(running: Service, attack: ExitStack) -> None:
    for _ in range(MANY):
        staying = attack.enter_context(over_tcp(running))
        staying.sendall(head("GET", "/_ping", CLOSE))
        while staying.recv(1 << 16):
            pass
    assert_served(running)


def test_clients_that_do_not_read_hold_up_nobody(running: Service, attack: ExitStack) -> None:
    for _ in range(THREADS + QUICK_THREADS + 2):
        attack.enter_context(over_unix(running)).sendall(head("GET", "/openapi.json") * 20)
    assert_served(running)


def test_slow_uploads_hold_up_no_short_request_and_a_further_one_waits_its_turn(running: Service, attack: ExitStack) -> None:
    content = archive("waited")
    uploads = [attack.enter_context(over_unix(running)) for _ in range(THREADS)]
    for upload in uploads:
        begin_upload(upload, content)
    assert_served(running)
    further = attack.enter_context(over_unix(running))
    further.sendall(head("POST", "/images/load", CLOSE, "Expect: 100-continue", f"Content-Length: {len(content)}"))
    assert_served(running)
    for arguments in (["version"], ["images"], ["image", "inspect", "nosuch"]):
        assert_answered(running, *arguments)
    assert select.select([further], [], [], 0)[0] == []
    uploads[0].close()
    assert further.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"Loaded image: waited:1" in ask(further, content)


def assert_answered(service: Service, *arguments: str) -> None:
    """The docker CLI hears something, be it that there is no such image."""
    needs("docker")
    environment = {**os.environ, "DOCKER_HOST": f"unix://{service.socket}", "DOCKER_CONFIG": str(service.root.parent / "docker-config")}
    done = subprocess.run(["docker", *arguments], env=environment, capture_output=True, timeout=20)
    assert done.returncode == 0 or b"No such image" in done.stderr


def test_uploads_over_tcp_leave_threads_to_the_unix_socket(running: Service, attack: ExitStack) -> None:
    content = archive("local")
    for _ in range(2 * THREADS):
        begin_upload(attack.enter_context(over_tcp(running)), content)
    assert_served(running)
    upload = over_unix(running)
    begin_upload(upload, content)
    assert b"Loaded image: local:1" in ask(upload, content[-1:])


def test_slow_uploads_through_nginx_hold_up_no_short_request(running: Service, tmp_path: Path, attack: ExitStack) -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    content = archive("through")
    with fronted(running, tmp_path) as front:
        for _ in range(2 * THREADS):
            begin_upload(attack.enter_context(front.connect()), content)
        for _ in range(MANY):
            attack.enter_context(front.connect()).send(b"GET /_ping HT")
        assert parse(ask(front.connect(), head("GET", "/_ping", CLOSE)))[2] == b"OK"
        assert_served(running)


def test_a_ping_waits_for_none_of_many_requests_that_compute(running: Service, attack: ExitStack) -> None:
    layout = Layout()
    labels = {"large": "\N{GRINNING FACE}" + "a" * (3 << 20)}
    layout.tag(layout.image([make_layer("large")], config={"Labels": labels}), "docker.io/library/large:1")
    assert b"Loaded image: large:1" in ask(over_unix(running), _load(layout.to_tar()))
    inspects = [attack.enter_context(over_unix(running)) for _ in range(100)]
    for each in inspects:
        each.sendall(head("GET", "/images/large:1/json", CLOSE))
    assert_served(running)
    assert len(select.select(inspects, [], [], 0)[0]) < len(inspects) // 2


def _load(content: bytes) -> bytes:
    return head("POST", "/images/load", CLOSE, f"Content-Length: {len(content)}") + content
