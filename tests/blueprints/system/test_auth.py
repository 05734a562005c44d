"""POST /auth on Flask's client."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient

from tests.fake_registry import FakeRegistry


def test_a_login_that_succeeds_is_told_as_docker_does(client: FlaskClient) -> None:
    with FakeRegistry(auth="basic", user="user:p4ss").serve() as registry:
        body = {"username": "user", "password": "p4ss", "serveraddress": registry.host}
        answer = client.post("/v1.24/auth", data=json.dumps(body))
    assert (answer.status_code, answer.json) == (200, {"IdentityToken": "", "Status": "Login Succeeded"})


def test_an_identity_token_that_still_opens_is_told_again(client: FlaskClient) -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss", identity_token="for-later").serve() as registry:
        answer = client.post("/auth", data=json.dumps({"identitytoken": "for-later", "serveraddress": registry.host}))
    assert (answer.status_code, answer.json) == (200, {"IdentityToken": "for-later", "Status": "Login Succeeded"})


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param(b"", 400, "invalid X-Registry-Auth header: invalid JSON: EOF", id="nothing"),
        pytest.param(
            b"[]",
            400,
            "invalid X-Registry-Auth header: invalid JSON: json: cannot unmarshal array into Go value of type registry.AuthConfig",
            id="a list",
        ),
        pytest.param(
            b'{"username": 1}',
            400,
            "invalid X-Registry-Auth header: invalid JSON: json: cannot unmarshal number "
            "into Go struct field AuthConfig.username of type string",
            id="a number for a name",
        ),
        pytest.param(b'{"username": "u"', 400, "invalid X-Registry-Auth header: invalid JSON: unexpected EOF", id="half an object"),
        pytest.param(b"{}{}", 400, "invalid X-Registry-Auth header: multiple JSON documents not allowed", id="two objects"),
        pytest.param(b'{"serveraddress": "http://[::1"}', 400, "unable to parse server address: ", id="no address"),
        pytest.param(b'{"serveraddress": "127.0.0.1:1"}', 500, 'Get "http', id="nobody there"),
    ],
)
def test_a_login_that_cannot_be_is_told(client: FlaskClient, body: bytes, status: int, words: str) -> None:
    answer = client.post("/auth", data=body)
    assert answer.status_code == status
    assert answer.json is not None
    assert answer.json["message"].startswith(words)
