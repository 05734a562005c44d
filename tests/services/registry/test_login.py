"""Logins are tried as Docker does, and answered in its words."""

from __future__ import annotations

import pytest

from stowage.services.errors import EngineError, InvalidParameter, RegistryFailure, Unauthorized
from stowage.services.registry.protocol import Credentials
from tests.engines import registry_client
from tests.fake_registry import TOKEN, FakeRegistry

LOOPBACK = ("127.0.0.0/8",)


def log_in(address: str, password: str = "p4ss", **secrets: str) -> str:
    credentials = Credentials(username="user" if password else "", password=password, server_address=address, **secrets)
    return registry_client(insecure=LOOPBACK).log_in(credentials)


@pytest.mark.parametrize("auth", ["", "basic", "bearer"])
@pytest.mark.parametrize("address", ["{host}", "http://{host}", "https://{host}/v1/", "http://{host}/v2/"])
def test_right_credentials_are_taken_at_any_spelling_of_the_address(auth: str, address: str) -> None:
    with FakeRegistry(auth=auth, user="user:p4ss").serve() as registry:
        assert log_in(address.format(host=registry.host)) == ""


def test_the_token_server_may_give_an_identity_token() -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss", identity_token="for-later").serve() as registry:
        assert log_in(registry.host) == "for-later"
        [asked] = [request for request in registry.requests if request.path == "/token"]
        assert asked.query == {"service": ["fake"], "offline_token": ["true"], "client_id": ["docker"], "account": ["user"]}


def test_an_identity_token_logs_in_and_is_kept() -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss", identity_token="for-later").serve() as registry:
        assert log_in(registry.host, password="", identity_token="for-later") == "for-later"
        assert registry.asked() == ["GET ", "POST token", "GET "]
        assert registry.requests[-1].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("auth", ["", "basic"])
def test_an_identity_token_that_is_not_asked_for_is_kept(auth: str) -> None:
    with FakeRegistry(auth=auth, user="user:p4ss").serve() as registry:
        assert log_in(registry.host, identity_token="for-later") == "for-later"


@pytest.mark.parametrize(
    ("auth", "password", "kind", "words"),
    [
        pytest.param("basic", "wrong", RegistryFailure, "login attempt to {v2} failed with status: 401 Unauthorized", id="basic"),
        pytest.param("bearer", "wrong", RegistryFailure, "login attempt to {v2} failed with status: 401 Unauthorized", id="bearer"),
        pytest.param("basic", "", RegistryFailure, 'Get "{v2}": no basic auth credentials', id="no password"),
    ],
)
def test_wrong_credentials_are_refused_after_one_try(auth: str, password: str, kind: type[EngineError], words: str) -> None:
    with FakeRegistry(auth=auth, user="user:p4ss").serve() as registry:
        with pytest.raises(kind) as raised:
            log_in(registry.host, password)
        assert str(raised.value) == words.format(v2=f"{registry.base}/v2/")
        assert len(registry.requests) <= 3


def test_the_token_servers_words_are_told_without_the_secret() -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss", echoes=True).serve() as registry:
        with pytest.raises(Unauthorized) as raised:
            log_in(registry.host)
        assert str(raised.value).startswith(f'Get "{registry.base}/v2/": unauthorized: what is Basic [secret]')


@pytest.mark.parametrize("address", ["http://[::1", "https://", "http://user@host", "a b", "host:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidParameter, match="unable to parse server address: "):
        log_in(address)


def test_a_registry_that_does_not_listen_is_told() -> None:
    with pytest.raises(RegistryFailure, match=r'Get "https?://127\.0\.0\.1:1/v2/": dial tcp 127\.0\.0\.1:1: connect: connection refused'):
        log_in("127.0.0.1:1")
