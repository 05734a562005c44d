"""Which token servers a registry may name."""

from __future__ import annotations

import ipaddress

import pytest

from stowage.services.errors import RegistryFailure
from stowage.services.registry.hosts import Endpoint, HostNames, Hosts
from stowage.services.registry.realms import Realms
from stowage.services.registry.transport import Transport

ADDRESSES = {
    "public.example": "8.8.8.8",
    "auth.public.example": "1.1.1.1",
    "inside.example": "10.0.0.5",
    "auth.inside.example": "10.0.0.6",
    "loopback.example": "127.0.0.1",
    "metadata.example": "169.254.169.254",
    "mapped.example": "::ffff:10.0.0.5",
}
PUBLIC, INSIDE = "public.example", "inside.example"


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names without a network."""

    def addresses(host: str) -> list[object]:
        name = host.partition(":")[0]
        return [ipaddress.ip_address(ADDRESSES[name])] if name in ADDRESSES else []

    monkeypatch.setattr("stowage.services.registry.realms.addresses", addresses)


def check(registry: str, realm: str, *, insecure: tuple[str, ...] = (), allowed: tuple[str, ...] = ()) -> bool:
    endpoint = Endpoint(f"https://{registry}/v2", insecure=registry in insecure)
    return Realms(Transport(Hosts(insecure=insecure), stall_seconds=60), HostNames(allowed), setting="STOWAGE_AUTH_REALMS").allows_insecure(
        realm, endpoint
    )


@pytest.mark.parametrize(
    ("registry", "realm", "insecure", "allowed"),
    [
        pytest.param(PUBLIC, "https://public.example/token", (), (), id="itself"),
        pytest.param(PUBLIC, "https://auth.public.example/token", (), (), id="another public host"),
        pytest.param(INSIDE, "https://auth.inside.example/token", (), (), id="private hosts among themselves"),
        pytest.param(INSIDE, "https://auth.public.example/token", (), (), id="a public host of a private registry"),
        pytest.param(PUBLIC, "https://inside.example/token", (), (INSIDE,), id="a private host that is allowed"),
        pytest.param(PUBLIC, "https://public.example/token", (), ("other.example",), id="itself, whatever else is allowed"),
        pytest.param("by.proxy", "https://auth.by.proxy/token", (), (), id="names that only a proxy knows"),
    ],
)
def test_a_token_server_over_verified_tls(registry: str, realm: str, insecure: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    assert check(registry, realm, insecure=insecure, allowed=allowed) is False


def test_plain_http_where_both_are_insecure_registries() -> None:
    assert check(INSIDE, "http://auth.inside.example/token", insecure=(INSIDE, "auth.inside.example"))


@pytest.mark.parametrize(
    ("registry", "realm", "insecure", "allowed", "words"),
    [
        pytest.param(PUBLIC, "http://auth.public.example/token", (), (), "does not use https", id="plain HTTP"),
        pytest.param(PUBLIC, "http://public.example/token", (), (), "does not use https", id="plain HTTP at itself"),
        pytest.param(INSIDE, "http://auth.inside.example/", (INSIDE,), (), "does not use https", id="only the registry is insecure"),
        pytest.param(PUBLIC, "http://inside.example/", (INSIDE,), (), "does not use https", id="only the token server is insecure"),
        pytest.param(PUBLIC, "https://inside.example/token", (), (), "in a private network", id="private"),
        pytest.param(PUBLIC, "https://loopback.example:8443/", (), (), "in a private network", id="loopback"),
        pytest.param(PUBLIC, "https://metadata.example/", (), (), "in a private network", id="link-local"),
        pytest.param(PUBLIC, "https://mapped.example/", (), (), "in a private network", id="private in IPv6"),
        pytest.param(PUBLIC, "https://auth.public.example/", (), ("other.example",), "STOWAGE_AUTH_REALMS", id="not allowed"),
        pytest.param(PUBLIC, "https://user@public.example/", (), (), "not the URL of a token server", id="a user name"),
        pytest.param(PUBLIC, "https:///token", (), (), "not the URL of a token server", id="no host"),
        pytest.param(PUBLIC, "file:///etc/passwd", (), (), "failed to authorize: the realm is not the URL of a token server", id="a file"),
    ],
)
def test_a_token_server_that_may_not_be_named(
    registry: str, realm: str, insecure: tuple[str, ...], allowed: tuple[str, ...], words: str
) -> None:
    with pytest.raises(RegistryFailure, match=words):
        check(registry, realm, insecure=insecure, allowed=allowed)
