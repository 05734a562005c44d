"""X-Registry-Auth in every spelling that clients send, and nothing that shows a secret."""

from __future__ import annotations

import base64
import json
import logging
import re

import pytest

from stowage.services.registry.credentials import Credentials, decode_auth, public_url
from tests.engines import registry_client
from tests.fake_registry import FakeRegistry
from tests.services.registry.clients import INSECURE, published

SECRET = "p?>ss~~wörd"
LOGIN = json.dumps({"username": "user", "password": SECRET, "serveraddress": "registry.example"}, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(base64.urlsafe_b64encode(LOGIN).decode(), id="base64url"),
        pytest.param(base64.b64encode(LOGIN).decode(), id="base64"),
        pytest.param(base64.urlsafe_b64encode(LOGIN).decode().rstrip("="), id="base64url without padding"),
        pytest.param(base64.b64encode(LOGIN).decode().rstrip("="), id="base64 without padding"),
    ],
)
def test_every_spelling_of_base64_is_read(header: str) -> None:
    assert decode_auth(header) == Credentials(username="user", password=SECRET, server_address="registry.example")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param({"identitytoken": "t"}, Credentials(identity_token="t"), id="identity token"),
        pytest.param({"registrytoken": "t"}, Credentials(registry_token="t"), id="registry token"),
        pytest.param({"password": "\ud800"}, Credentials(password="\ufffd"), id="half a character"),
        pytest.param({"Username": "u", "PASSWORD": "p"}, Credentials(username="u", password="p"), id="keys in any case"),
        pytest.param(
            {"username": "u", "password": "p", "auth": "x", "email": None}, Credentials(username="u", password="p"), id="other keys"
        ),
    ],
)
def test_tokens_and_odd_keys_are_read(document: dict[str, object], expected: Credentials) -> None:
    assert decode_auth(base64.b64encode(json.dumps(document).encode()).decode()) == expected


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="absent"),
        pytest.param("!", id="not base64"),
        pytest.param("a", id="one character"),
        pytest.param("ä", id="not ASCII"),
        pytest.param(base64.b64encode(b"\xff").decode(), id="not UTF-8"),
        pytest.param(base64.b64encode(b"{").decode(), id="not JSON"),
        pytest.param(base64.b64encode(b"null").decode(), id="null"),
        pytest.param(base64.b64encode(b"[]").decode(), id="a list"),
        pytest.param(base64.b64encode(b"{}").decode(), id="empty"),
        pytest.param(base64.b64encode(b'{"username":"","password":""}').decode(), id="anonymous"),
        pytest.param(base64.b64encode(b'{"username":1,"password":"p"}').decode(), id="wrong type"),
        pytest.param(base64.b64encode(b"[" * 100_000).decode(), id="nested too deeply"),
    ],
)
def test_what_is_malformed_or_empty_is_anonymous(header: str) -> None:
    assert decode_auth(header) is None


def test_the_repr_shows_no_field() -> None:
    assert repr(decode_auth(base64.b64encode(LOGIN).decode())) == "Credentials()"


@pytest.mark.parametrize(
    ("url", "public"),
    [
        pytest.param("http://host:80/a/b", "http://host:80/a/b", id="plain"),
        pytest.param("http://host/a?sig=x", "http://host/a", id="query"),
        pytest.param("http://host/a#x?y", "http://host/a", id="fragment"),
        pytest.param("http://user:p@ss@host/a@b", "http://host/a@b", id="user info"),
        pytest.param("user:pass@host/a", "host/a", id="no scheme"),
        pytest.param("http://user:pass@host/http://x@y", "http://host/http://x@y", id="a URL in a path"),
        pytest.param("u:p@h/x://y", "h/x://y", id="no URL"),
        pytest.param("-", "-", id="the body"),
    ],
)
def test_what_is_left_of_a_url(url: str, public: str) -> None:
    assert public_url(url) == public


def test_debugging_shows_requests_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "stowage")
    with FakeRegistry(auth="bearer", user="user:p4ss").serve() as registry:
        reference, credentials = published(registry), Credentials(username="user", password="p4ss")
        with registry_client(insecure=INSECURE).repository(reference, credentials=credentials) as repository:
            repository.resolve(reference)
        lines = [re.sub(r"\d+ ms", "1 ms", record.getMessage()) for record in caplog.records]
    manifest = f"HEAD {registry.base}/v2/team/app/manifests/1"
    assert lines[-3:] == [
        f"{manifest} with no authorization: 401 in 1 ms",
        f"GET {registry.base}/token with Basic: 200 in 1 ms",
        f"{manifest} with Bearer: 200 in 1 ms",
    ]
    assert [secret for secret in ("p4ss", registry.token) if secret in caplog.text] == []
