"""Where requests go, and which hosts need no verified TLS."""

from __future__ import annotations

import pytest

from stowage.services.registry.hosts import Endpoint, Hosts, InsecureHosts, credential_host

LOOPBACK = ("127.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("127.0.0.1", True, id="address in a network"),
        pytest.param("127.9.9.9:5000", True, id="with a port"),
        pytest.param("[::1]:5000", True, id="IPv6"),
        pytest.param("localhost:5000", True, id="a name with an address there"),
        pytest.param("10.0.0.1:5000", False, id="another address"),
        pytest.param("no-such-host.invalid", False, id="a name without an address"),
        pytest.param("registry.example:5000", True, id="listed with its port"),
        pytest.param("registry.example:5001", False, id="listed with another port"),
        pytest.param("plain.example", True, id="listed name"),
    ],
)
def test_the_insecure_list_takes_networks_and_hosts(host: str, expected: bool) -> None:
    assert (host in InsecureHosts(("127.0.0.0/8", "::1/128", "registry.example:5000", "plain.example"))) is expected


@pytest.mark.parametrize(
    ("domain", "mirrors", "expected"),
    [
        pytest.param("docker.io", (), ["https://registry-1.docker.io/v2"], id="Docker Hub"),
        pytest.param(
            "docker.io",
            ("http://127.0.0.1:5000", "https://mirror.example/hub/", "https://other.example/v2"),
            [
                "http://127.0.0.1:5000/v2",
                "https://mirror.example/hub/v2",
                "https://other.example/v2",
                "https://registry-1.docker.io/v2",
            ],
            id="mirrors of Docker Hub come first, in order",
        ),
        pytest.param(
            "registry.example:5000", ("https://mirror.example",), ["https://registry.example:5000/v2"], id="no mirror of another registry"
        ),
    ],
)
def test_endpoints_of_a_domain(domain: str, mirrors: tuple[str, ...], expected: list[str]) -> None:
    assert [endpoint.base for endpoint in Hosts(insecure=LOOPBACK, mirrors=mirrors).endpoints(domain)] == expected


def test_plain_http_may_only_follow_where_the_host_is_insecure() -> None:
    insecure, secure = Endpoint("https://127.0.0.1:5000/v2", insecure=True), Endpoint("https://registry.example/v2", insecure=False)
    assert insecure.may_be_plain
    assert insecure.plain == Endpoint("http://127.0.0.1:5000/v2", insecure=True)
    assert not insecure.plain.may_be_plain
    assert not secure.may_be_plain


@pytest.mark.parametrize(
    ("server_address", "domain", "expected"),
    [
        pytest.param("", "registry.example:5000", "registry.example:5000", id="none given"),
        pytest.param("https://index.docker.io/v1/", "docker.io", "registry-1.docker.io", id="Docker Hub's address"),
        pytest.param("", "docker.io", "registry-1.docker.io", id="Docker Hub"),
        pytest.param("https://registry.example/v2/", "registry.example", "registry.example", id="a URL"),
        pytest.param("registry.example/path", "other.example", "registry.example", id="another registry"),
    ],
)
def test_credentials_are_meant_for_one_host(server_address: str, domain: str, expected: str) -> None:
    assert credential_host(server_address, domain) == expected
