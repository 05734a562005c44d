"""The answer to a ping, which is the same each time."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient


@pytest.mark.parametrize(("method", "body"), [("GET", b"OK"), ("HEAD", b"")])
@pytest.mark.parametrize("path", ["/_ping", "/v1.45/_ping"])
def test_every_ping_has_the_same_headers(client: FlaskClient, path: str, method: str, body: bytes) -> None:
    for _ in range(3):
        answer = client.open(path, method=method)
        assert answer.data == body
        assert [line for line in answer.headers.to_wsgi_list() if line[0] not in ("X-Request-Id", "Content-Length")] == [
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Pragma", "no-cache"),
            ("Swarm", "inactive"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Api-Version", "1.56"),
            ("Docker-Experimental", "false"),
            ("Ostype", "linux"),
        ]
