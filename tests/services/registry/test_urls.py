"""Which addresses a client may make the service fetch from."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest

from stowage.services.errors import EngineError, Forbidden, InvalidParameter, NotFound, RegistryFailure
from stowage.services.registry.urls import _host_header, _is_allowed
from tests.engines import downloads


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_means_the_internet_alone(address: str, allowed: bool) -> None:
    assert _is_allowed(ipaddress.ip_address(address), ("public",)) is allowed


def test_a_network_allows_its_addresses_and_no_others() -> None:
    networks = ("10.0.0.0/8", "fd00::/8")
    assert _is_allowed(ipaddress.ip_address("10.255.0.1"), networks)
    assert _is_allowed(ipaddress.ip_address("fd12::1"), networks)
    assert not _is_allowed(ipaddress.ip_address("11.0.0.1"), networks)
    assert not _is_allowed(ipaddress.ip_address("::ffff:11.0.0.1"), networks)


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        pytest.param("http://127.0.0.1:1/x", Forbidden, "does not cover its address 127.0.0.1", id="loopback"),
        pytest.param("http://localhost/x", Forbidden, "does not cover its address", id="loopback by name"),
        pytest.param("http://2130706433/x", Forbidden, "does not cover its address 127.0.0.1", id="loopback as a number"),
        pytest.param("http://0x7f.1/x", Forbidden, "does not cover its address 127.0.0.1", id="loopback in hexadecimal"),
        pytest.param("http://[::ffff:127.0.0.1]/x", Forbidden, "does not cover its address ::ffff:", id="loopback in IPv6"),
        pytest.param("http://nothing.invalid/x", NotFound, "lookup nothing.invalid: no such host", id="no such host"),
        pytest.param("ftp://example.com/x", RegistryFailure, 'Get "ftp://example.com/x": unsupported protocol scheme "ftp"', id="scheme"),
        pytest.param("file:///etc/passwd", RegistryFailure, 'unsupported protocol scheme "file"', id="file"),
        pytest.param("http:///x", RegistryFailure, 'Get "http:///x": http: no Host in request URL', id="no host"),
        pytest.param("http://", RegistryFailure, 'Get "http:": http: no Host in request URL', id="nothing"),
        pytest.param("http://[::1", InvalidParameter, "parse \"http://[::1\": missing ']' in host", id="open bracket"),
        pytest.param("http://a:99999/", InvalidParameter, 'parse "http://a:99999/": invalid port ":99999" after host', id="port too large"),
        pytest.param("http://a:abc/", InvalidParameter, 'parse "http://a:abc/": invalid port ":abc" after host', id="port of letters"),
        pytest.param(
            "http://%2Fdata%2Fx", InvalidParameter, 'parse "http://%2Fdata%2Fx": invalid URL escape "%2F"', id="escaped path, no host"
        ),
        pytest.param("http://a%20b/x", InvalidParameter, 'parse "http://a%20b/x": invalid URL escape "%20"', id="escape in the host"),
        pytest.param(
            "http://%zz/x", InvalidParameter, 'parse "http://%zz/x": invalid URL escape "%zz"', id="escape of no hexadecimal in the host"
        ),
        pytest.param("http://%C3%BC.invalid/x", NotFound, "no such host", id="escape beyond ASCII in the host"),
        pytest.param("http://a/%zz", InvalidParameter, 'parse "http://a/%zz": invalid URL escape "%zz"', id="escape of no hexadecimal"),
        pytest.param("http://a/%2", InvalidParameter, 'parse "http://a/%2": invalid URL escape "%2"', id="escape cut short"),
        pytest.param("://x", InvalidParameter, 'parse "://x": missing protocol scheme', id="no scheme"),
        pytest.param("http://a b/", InvalidParameter, "no valid host in request URL", id="space"),
        pytest.param("http://a/\r\nX: y", InvalidParameter, "no valid host in request URL", id="line break"),
        pytest.param("http://user:secret@example.com/x", InvalidParameter, "must not hold a user name or password", id="password"),
    ],
)
def test_urls_that_are_refused(url: str, kind: type[EngineError], words: str) -> None:
    with pytest.raises(kind) as caught, downloads("public").open(url):
        pass
    assert words in str(caught.value)


def test_a_refused_connection_is_told_in_dockers_words() -> None:
    with pytest.raises(RegistryFailure) as caught, downloads("127.0.0.0/8").open("http://127.0.0.1:1/x.tar"):
        pass
    assert str(caught.value) == 'Get "http://127.0.0.1:1/x.tar": dial tcp 127.0.0.1:1: connect: connection refused'


@pytest.mark.parametrize(
    ("url", "header"),
    [
        pytest.param("http://example.com/x", "example.com", id="name"),
        pytest.param("http://Example.com:8080/x", "Example.com:8080", id="name and port"),
        pytest.param("http://example.com:080/x", "example.com:080", id="port as written"),
        pytest.param("http://[::1]:8080/x", "[::1]:8080", id="address and port"),
        pytest.param("http://[::1]/x", "[::1]", id="address"),
        pytest.param("http://b\u00fccher.example/x", "xn--bcher-kva.example", id="name beyond ASCII"),
        pytest.param("http://server.b\u00fccher:8080/x", "server.xn--bcher-kva:8080", id="last label beyond ASCII and port"),
        pytest.param(f"http://{'a' * 63}:8080/x", f"{'a' * 63}:8080", id="longest label and port"),
    ],
)
def test_the_host_that_a_server_is_asked_for(url: str, header: str) -> None:
    assert _host_header(urlsplit(url)) == header
