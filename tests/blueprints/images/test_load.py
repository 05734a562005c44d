"""POST /images/load over HTTP: lines, error lines, and the platform parameter at each API version."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from stowage.services.engine import Engine
from tests.builders import Layout, make_layer, simple_layout
from tests.listings import all_records

AMD64 = "platform=" + quote('{"os":"linux","architecture":"amd64"}')
ARM64 = "platform=" + quote('{"os":"linux","architecture":"arm64"}')
SEVERAL = "multiple platform parameters are not supported in this API version; use API version 1.52 or later"


def post(client: FlaskClient, archive: bytes, *, version: str = "1.56", query: str = "") -> TestResponse:
    return client.post(f"/v{version}/images/load?{query}", data=archive, content_type="application/x-tar")


def multi() -> bytes:
    layout = Layout()
    layout.tag(layout.multi_platform(), "docker.io/library/multi:latest")
    return layout.to_tar()


def test_a_line_for_each_name(client: FlaskClient) -> None:
    layout = Layout()
    image = layout.image([make_layer()])
    layout.tag(image, "docker.io/library/a:1")
    layout.tag(image, "docker.io/library/a:2")
    response = post(client, layout.to_tar())
    assert (response.status_code, response.content_type) == (200, "application/json")
    assert [json.loads(line) for line in response.data.splitlines()] == [
        {"stream": "Loaded image: a:1\n"},
        {"stream": "Loaded image: a:2\n"},
    ]


@pytest.mark.parametrize("query", ["quiet=0", "quiet=1", "quiet=banana", ""])
def test_quiet_changes_nothing(client: FlaskClient, query: str) -> None:
    assert post(client, simple_layout().to_tar(), query=query).get_json() == {"stream": "Loaded image: simple:latest\n"}


def test_everything_wrong_in_the_archive_is_a_line(client: FlaskClient, engine: Engine) -> None:
    response = post(client, b"this is not a tar file" * 100)
    message = "archive/tar: invalid tar header"
    assert (response.status_code, response.get_json()) == (200, {"error": message, "errorDetail": {"message": message}})
    assert all_records(engine.metadata) == ()


@pytest.mark.parametrize(
    ("version", "query", "status", "message"),
    [
        pytest.param("1.47", "platform=bad", 200, None, id="unknown before 1.48"),
        pytest.param("1.48", "platform=bad", 400, "failed to parse platform: ", id="not JSON"),
        pytest.param("1.48", "platform={}", 400, "both OS and Architecture must be provided", id="empty"),
        pytest.param("1.48", AMD64, 200, None, id="one"),
        pytest.param("1.51", f"{AMD64}&{ARM64}", 400, SEVERAL, id="several before 1.52"),
        pytest.param("1.52", f"{AMD64}&{ARM64}", 200, None, id="several since 1.52"),
    ],
)
def test_platform(client: FlaskClient, version: str, query: str, status: int, message: str | None) -> None:
    response = post(client, multi(), version=version, query=query)
    assert response.status_code == status
    if message is None:
        assert response.get_json() == {"stream": "Loaded image: multi:latest\n"}
    else:
        assert response.get_json()["message"].startswith(message)
