"""X-Registry-Auth: every spelling that clients send, and nothing that shows a secret."""

from __future__ import annotations

import base64
import json

import pytest

from stowage.services.registry.credentials import decode_auth
from stowage.services.registry.protocol import Credentials

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
