"""POST /images/{name}/push: what is answered before the stream, which parameters count when, and where credentials come from."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import Layout, put_image, simple_layout
from tests.fake_registry import FakeRegistry

AUTH = {"username": "me", "password": "secret"}


def lines(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.content_type == "application/json"
    return [json.loads(line) for line in response.data.split(b"\r\n")[:-1]]


def test_a_push_is_a_stream_of_lines(client: FlaskClient, engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    put_image(engine, f"{registry.host}/app:2", layout)
    target = layout.manifests[0]
    sent = lines(client.post(f"/v1.56/images/{registry.host}/app/push?tag=2"))
    assert sent[0] == {"status": f"The push refers to repository [{registry.host}/app]"}
    assert {"status": "Preparing", "progressDetail": {}, "id": next(iter(layout.blobs))[7:19]} in sent
    assert sent[-2:] == [
        {"status": f"2: digest: {target['digest']} size: {target['size']}"},
        {"progressDetail": {}, "aux": {"Tag": "2", "Digest": target["digest"], "Size": target["size"]}},
    ]


def test_what_is_not_here_is_an_error_line(client: FlaskClient) -> None:
    assert lines(client.post("/v1.56/images/nope/push?tag=v")) == [
        {"status": "The push refers to repository [docker.io/library/nope]"},
        {"error": "tag does not exist: nope:v", "errorDetail": {"message": "tag does not exist: nope:v"}},
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("UPPER/push", "invalid reference format: repository name (library/UPPER) must be lowercase", id="name"),
        pytest.param("nope/push?tag=!", "invalid tag format", id="tag"),
        pytest.param(f"nope@sha256:{'b' * 64}/push?tag=v", "cannot import digest reference", id="digest"),
        pytest.param(
            f"{'a' * 64}/push?tag=v", f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings", id="identifier"
        ),
        pytest.param(
            "UPPER/push?platform=x",
            "invalid reference format: repository name (library/UPPER) must be lowercase",
            id="name before platform",
        ),
        pytest.param("nope/push?tag=!&platform=x", "invalid tag format", id="tag before platform"),
        pytest.param(
            "nope/push?platform=linux/amd64",
            "failed to parse platform: invalid character 'l' looking for beginning of value",
            id="platform",
        ),
    ],
)
def test_what_is_no_reference_or_platform_is_a_status(client: FlaskClient, path: str, message: str) -> None:
    response = client.post(f"/v1.56/images/{path}")
    assert (response.status_code, response.json) == (400, {"message": message})


@pytest.mark.parametrize(("version", "expected"), [("1.45", "index"), ("1.46", "arm64")])
def test_platform_counts_from_1_46_on(client: FlaskClient, engine: Engine, registry: FakeRegistry, version: str, expected: str) -> None:
    layout = Layout()
    index = layout.multi_platform(("linux/amd64", "linux/arm64/v8"))
    put_image(engine, f"{registry.host}/app:1", layout, index)
    target = index if expected == "index" else json.loads(layout.blobs[index["digest"]])["manifests"][1]
    platform = json.dumps({"os": "linux", "architecture": "arm64"})
    sent = lines(client.post(f"/v{version}/images/{registry.host}/app/push", query_string={"tag": "1", "platform": platform}))
    assert sent[-1]["aux"]["Digest"] == target["digest"]


def header(credentials: dict[str, str]) -> dict[str, str]:
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(credentials).encode()).decode()}


@pytest.mark.parametrize(
    ("options", "opens"),
    [
        pytest.param({"headers": header(AUTH)}, True, id="header"),
        pytest.param({"data": json.dumps(AUTH | {"email": "me@example.org", "serveraddress": ""})}, True, id="JSON body"),
        pytest.param({"headers": header({}), "data": json.dumps(AUTH)}, False, id="an empty header counts before the body"),
        pytest.param({"headers": {"X-Registry-Auth": "malformed"}}, False, id="malformed header"),
        pytest.param({"data": b"{malformed"}, False, id="malformed body"),
        pytest.param({}, False, id="neither"),
    ],
)
def test_credentials_come_from_the_header_or_else_from_the_body(
    client: FlaskClient, engine: Engine, options: dict[str, Any], opens: bool
) -> None:
    with FakeRegistry(auth="bearer", user="me:secret").serve() as registry:
        put_image(engine, f"{registry.host}/app:1")
        last = lines(client.post(f"/v1.24/images/{registry.host}/app/push?tag=1", **options))[-1]
    assert ("aux" in last) is opens
    if not opens:
        assert last["error"].startswith("push access denied, repository does not exist or may require authorization: ")


def test_meta_headers_go_along(client: FlaskClient, engine: Engine, registry: FakeRegistry) -> None:
    put_image(engine, f"{registry.host}/app:1")
    lines(client.post(f"/v1.56/images/{registry.host}/app/push?tag=1", headers={"X-Meta-Build": "7", "X-Other": "8"}))
    assert {(request.headers["X-Meta-Build"], request.headers.get("X-Other")) for request in registry.requests} == {("7", None)}
