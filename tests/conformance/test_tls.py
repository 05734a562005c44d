"""TLS with verified clients on TCP, beside a unix socket that needs none."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.certificates import client_context, tls_settings
from tests.conformance.conftest import Service
from tests.ports import free_port


@pytest.fixture(scope="module")
def running(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {**tls_settings(certificates), "STOWAGE_CLIENT_IDLE_SECONDS": "1"}
    service = Service(tmp_path_factory.mktemp("tls") / "stowage", free_port(), settings)
    service.start()
    yield service
    service.stop()


def ping(service: Service, certificates: Path, client: str | None) -> int:
    """The status of a ping over TLS, as this client."""
    connection = http.client.HTTPSConnection("localhost", service.port, context=client_context(certificates, client), timeout=20)
    try:
        connection.request("GET", "/_ping", headers={"Host": "engine.example"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_client_whose_certificate_is_signed_is_served_under_any_name(running: Service, certificates: Path) -> None:
    assert ping(running, certificates, "client") == 200


@pytest.mark.parametrize("client", [None, "stranger"])
def test_any_other_client_is_refused(running: Service, certificates: Path, client: str | None) -> None:
    with pytest.raises((ssl.SSLError, ConnectionResetError, http.client.RemoteDisconnected)):
        ping(running, certificates, client)


def test_a_body_that_does_not_go_on_is_told_over_tls(running: Service, certificates: Path) -> None:
    with (
        socket.create_connection(("localhost", running.port), timeout=20) as plain,
        client_context(certificates, "client").wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(
            b"POST /images/load HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1024\r\n\r\n" + bytes(512)
        )
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert b"the client sent nothing of the request's body for 1 seconds" in answer


def test_the_unix_socket_beside_it_speaks_plain_http(running: Service) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(running.socket))
        connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        assert b"".join(iter(lambda: connection.recv(1 << 16), b"")).startswith(b"HTTP/1.0 200 OK\r\n")
