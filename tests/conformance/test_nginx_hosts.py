"""Web pages in front of the shipped nginx site: it checks the Host of its plain address, and the service behind it every Origin."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.conformance.front import Front, running_front
from tests.conformance.test_edges import CLOSE, head, message_of, parse

BY_NGINX = "the Host header does not name this service; the nginx site lists its names"
BY_SERVICE = "the Origin header is of a foreign web page; STOWAGE_HOSTS lists the hosts whose pages may use this service"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with running_front(tmp_path_factory) as front:
        yield front


def ask(front: Front, host: str, origin: str | None = None, *more: str, tls: bool = False) -> tuple[int, str]:
    """The status and message of a prune that a page makes a browser ask for."""
    headers = [] if origin is None else [f"Origin: {origin}"]
    request = head("POST", "/images/prune", CLOSE, "Content-Length: 0", *headers, *more, host=host)
    status, _, body = parse(exchange_over_tls(front, request) if tls else front.exchange(request))
    return status, "" if status == 200 else message_of(body)


def exchange_over_tls(front: Front, request: bytes) -> bytes:
    context = ssl.create_default_context(cafile=str(front.folder / "ca.pem"))
    context.load_cert_chain(front.folder / "client.pem", front.folder / "client.key")
    plain = socket.create_connection(("localhost", front.tls_port), timeout=20)
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.mark.parametrize(
    "host",
    [
        "localhost:2375",
        "127.0.0.1",
        "192.0.2.1:2375",
        "[::1]:2375",
        "docker:2375",
        "API.moby.localhost",
        "host.docker.internal:2375",
        "docker.example.com",
    ],
)
def test_the_hosts_that_clients_ask_for_are_served(front: Front, host: str) -> None:
    assert ask(front, host) == (200, "")


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("evil.example", id="foreign"),
        pytest.param("localhost.evil.example", id="begins like ours"),
        pytest.param("127.0.0.1.evil.example", id="begins like an address"),
        pytest.param("evillocalhost.example", id="holds ours"),
        pytest.param("localhost:8080:1", id="two ports"),
        pytest.param("evil.example@localhost", id="user"),
    ],
)
def test_any_other_host_is_refused_without_tls(front: Front, host: str) -> None:
    assert ask(front, host) == (403, BY_NGINX)


@pytest.mark.parametrize("host", ["[", "localhost/.evil.example", "local host"])
def test_a_host_that_cannot_be_read_is_refused(front: Front, host: str) -> None:
    assert parse(front.exchange(head("GET", "/_ping", CLOSE, host=host)))[0] in (400, 403)


def test_a_client_without_a_host_is_served(front: Front) -> None:
    assert parse(front.exchange(b"GET /_ping HTTP/1.0\r\n\r\n"))[2] == b"OK"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:8080", "http://localhost.evil.example:2375", "http://["]
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_foreign_page_is_refused_by_the_service(front: Front, tls: bool, origin: str) -> None:
    assert ask(front, "localhost:2375", origin, tls=tls) == (403, BY_SERVICE)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_page_of_the_same_host_and_port_is_served(front: Front, tls: bool) -> None:
    scheme = "https" if tls else "http"
    assert ask(front, "localhost:2375", f"{scheme}://localhost:2375", tls=tls) == (200, "")
    assert ask(front, "localhost", f"{scheme}://localhost", tls=tls) == (200, "")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_page_of_the_same_host_and_another_scheme_is_refused(front: Front, tls: bool) -> None:
    scheme = "http" if tls else "https"
    for host in ("localhost", "localhost:2375"):
        assert ask(front, host, f"{scheme}://{host}", "X-Forwarded-Proto: " + scheme, tls=tls) == (403, BY_SERVICE)


def test_any_host_is_served_over_tls(front: Front) -> None:
    assert ask(front, "images.example.org:2376", tls=True) == (200, "")
