"""What is left of a URL for the log, and what a debug log says of requests."""

from __future__ import annotations

import logging
import re

import pytest

from stowage.services.registry.protocol import Credentials
from stowage.services.registry.redaction import public_url
from tests.engines import registry_client
from tests.fake_registry import FakeRegistry
from tests.services.registry.clients import INSECURE, published


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
