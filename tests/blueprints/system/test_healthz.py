"""GET and HEAD /healthz."""

import pytest
from flask.testing import FlaskClient


@pytest.mark.parametrize(("method", "body"), [("GET", b"ok\n"), ("HEAD", b"")])
def test_the_process_answers(client: FlaskClient, method: str, body: bytes) -> None:
    answer = client.open("/healthz", method=method)
    assert (answer.status_code, answer.data, answer.mimetype) == (200, body, "text/plain")


def test_it_has_no_versions(client: FlaskClient) -> None:
    assert client.get("/v1.45/healthz").status_code == 404
