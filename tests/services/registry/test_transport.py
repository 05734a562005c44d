"""Pooled connections, and which of them go through a proxy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stowage.services.errors import RegistryFailure
from stowage.services.oci.reference import Reference
from stowage.services.registry.hosts import SYSTEM_TRUST, Hosts
from stowage.services.registry.transport import Proxies, Transport
from tests.engines import registry_client


def test_a_connection_that_is_not_kept_after_a_burst_leaves_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    url = "http://localhost:1/"
    pool = Transport(Hosts(), stall_seconds=1).pools(url, SYSTEM_TRUST, insecure=True).connection_from_url(url)
    for _ in range(20):
        pool._put_conn(None)
    assert caplog.text == ""


BOTH = {"HTTP_PROXY": "http://one:1", "https_proxy": "two:2"}


@pytest.mark.parametrize(
    ("url", "none", "expected"),
    [
        pytest.param("http://registry.example/v2/", "", "http://one:1", id="http"),
        pytest.param("https://registry.example/v2/", "", "http://two:2", id="https, a proxy without a scheme"),
        pytest.param("http://localhost:5000/", "", "", id="localhost"),
        pytest.param("http://127.9.9.9:5000/", "", "", id="loopback"),
        pytest.param("http://[::1]:5000/", "", "", id="loopback in IPv6"),
        pytest.param("http://registry.example/", "*", "", id="everything"),
        pytest.param("http://registry.example/", "other, registry.example", "", id="the host"),
        pytest.param("http://a.registry.example/", "registry.example", "", id="below the host"),
        pytest.param("http://a.registry.example/", ".registry.example", "", id="below a domain"),
        pytest.param("http://registry.example/", "*.registry.example", "http://one:1", id="the domain itself"),
        pytest.param("http://evilregistry.example/", "registry.example", "http://one:1", id="a name that only ends alike"),
        pytest.param("http://registry.example:5000/", "registry.example:5000", "", id="the port"),
        pytest.param("http://registry.example/", "registry.example:5000", "http://one:1", id="another port"),
        pytest.param("http://10.1.2.3/", "10.0.0.0/8", "", id="a network"),
        pytest.param("http://11.1.2.3/", "10.0.0.0/8", "http://one:1", id="another network"),
        pytest.param("http://10.1.2.3:80/", "10.1.2.3", "", id="an address"),
    ],
)
def test_who_is_asked(url: str, none: str, expected: str) -> None:
    assert Proxies.from_environ({**BOTH, "NO_PROXY": none}).proxy_of(url) == expected


def test_credentials_are_masked() -> None:
    shown = Proxies("http://user:p4ss@one:1", "two:2", "three").masked
    assert shown == Proxies("http://xxxxx:xxxxx@one:1", "two:2", "three")


@contextmanager
def proxy() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A proxy that notes each request and its credentials, and answers 502."""
    seen: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((f"{self.command} {self.path}", self.headers.get("Proxy-Authorization", "")))
            self.send_error(502)

        do_HEAD = do_CONNECT = do_GET  # noqa: N815 - as http.server has it

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"user:p4ss@127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_registry_is_asked_through_its_proxy() -> None:
    reference = Reference.parse("registry.example/team/app:1")
    with proxy() as (address, seen):
        client = registry_client(proxies=Proxies(https=f"http://{address}"))
        with client.repository(reference) as repository, pytest.raises(RegistryFailure) as raised:
            repository.resolve(reference)
    assert seen == [("CONNECT registry.example:443", "Basic dXNlcjpwNHNz")]
    assert "proxyconnect tcp: " in str(raised.value)
    assert "p4ss" not in str(raised.value)


def test_what_is_no_http_proxy_is_refused_without_its_credentials() -> None:
    reference = Reference.parse("registry.example/team/app:1")
    client = registry_client(proxies=Proxies(https="socks5://user:p4ss@one:1"))
    with client.repository(reference) as repository, pytest.raises(RegistryFailure, match="not the URL of an HTTP proxy"):
        repository.resolve(reference)
