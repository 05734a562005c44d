"""GET /images/get and /images/{name}/get over HTTP."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import Layout, partial_layout, put_image, simple_layout

AMD64 = "platform=" + quote('{"os":"linux","architecture":"amd64"}')
ARM64 = "platform=" + quote('{"os":"linux","architecture":"arm64","variant":"v8"}')
SEVERAL = "multiple platform parameters are not supported in this API version; use API version 1.52 or later"


@pytest.fixture(autouse=True)
def images(engine: Engine) -> None:
    put_image(engine, "team/simple:1", simple_layout(label="one"))
    put_image(engine, "team/simple:2", simple_layout(label="two"))
    put_image(engine, "partial", partial_layout())
    layout = Layout()
    layout.tag(layout.multi_platform())
    put_image(engine, "multi", layout)


def manifest_file(archive: bytes) -> Any:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        member = opened.extractfile("manifest.json")
        assert member is not None
        return json.load(member)


@pytest.mark.parametrize(
    ("path", "tags"),
    [
        pytest.param("/images/team/simple:1/get", [["team/simple:1"]], id="one"),
        pytest.param("/images/team/simple/get", [["team/simple:1"], ["team/simple:2"]], id="repository"),
        pytest.param("/images/get?names=team/simple:2&names=partial", [["team/simple:2"], ["partial:latest"]], id="several"),
    ],
)
def test_archives(client: FlaskClient, path: str, tags: list[list[str]]) -> None:
    response = client.get("/v1.56" + path)
    assert (response.status_code, response.content_type) == (200, "application/x-tar")
    assert [entry["RepoTags"] for entry in manifest_file(response.data)] == tags


def test_no_names_are_an_empty_archive(client: FlaskClient) -> None:
    response = client.get("/images/get")
    with tarfile.open(fileobj=io.BytesIO(response.data)) as opened:
        assert (response.status_code, opened.getnames()) == (200, ["index.json", "oci-layout"])


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        pytest.param("/images/nope/get", 404, "No such image: nope:latest", id="missing"),
        pytest.param("/images/get?names=partial&names=nope:1", 404, "No such image: nope:1", id="one of two missing"),
        pytest.param("/images/bad:tag:x/get", 400, "invalid reference format", id="malformed"),
    ],
)
def test_errors_are_statuses(client: FlaskClient, path: str, status: int, message: str) -> None:
    response = client.get("/v1.56" + path)
    assert (response.status_code, response.get_json()) == (status, {"message": message})


@pytest.mark.parametrize(
    ("version", "query", "status"),
    [
        pytest.param("1.47", ARM64, 200, id="unknown before 1.48"),
        pytest.param("1.48", AMD64, 200, id="one"),
        pytest.param("1.48", "platform=bad", 400, id="not JSON"),
        pytest.param("1.51", f"{AMD64}&{ARM64}", 400, id="several before 1.52"),
        pytest.param("1.52", f"{AMD64}&{ARM64}", 200, id="several since 1.52"),
    ],
)
def test_platform(client: FlaskClient, version: str, query: str, status: int) -> None:
    assert client.get(f"/v{version}/images/multi/get?{query}").status_code == status


def test_platform_that_is_absent(client: FlaskClient) -> None:
    response = client.get("/v1.56/images/partial/get?platform=" + quote('{"os":"linux","architecture":"s390x"}'))
    assert response.status_code == 404
    assert "does not provide the specified platform (linux/s390x)" in response.get_json()["message"]


def test_words_about_several_platforms(client: FlaskClient) -> None:
    assert client.get(f"/v1.51/images/multi/get?{AMD64}&{ARM64}").get_json() == {"message": SEVERAL}
