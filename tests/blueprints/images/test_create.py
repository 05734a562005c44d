"""POST /images/create: which parameters mean what, and what is answered before a stream begins."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import make_tar, simple_layout
from tests.fake_registry import FakeRegistry

ROOTFS = make_tar({"hello": b"world"})


def create(client: FlaskClient, parameters: dict[str, Any], *, version: str = "1.56", body: bytes = ROOTFS, **options: Any) -> Any:
    return client.post(f"/v{version}/images/create?{urlencode(parameters, doseq=True)}", data=body, **options)


def lines(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.data.split(b"\r\n")[:-1]]


def config_of(engine: Engine, response: Any) -> Any:
    (line,) = lines(response)
    with engine.metadata.read() as tx:
        (record,) = tx.images.by_id_prefix(line["status"].removeprefix("sha256:"))
        return json.loads(tx.graph.config(record.target.digest) or b"")


def test_an_import_answers_one_line_with_the_image_id(client: FlaskClient, engine: Engine) -> None:
    response = create(client, {"fromSrc": "-", "repo": "app", "tag": "2"})
    (line,) = lines(response)
    assert response.content_type == "application/json"
    with engine.metadata.read() as tx:
        record = tx.images.get("docker.io/library/app:2")
    assert record is not None
    assert line == {"status": str(record.target.digest)}


@pytest.mark.parametrize(
    ("parameters", "comment"),
    [
        pytest.param({}, "Imported from -", id="no message"),
        pytest.param({"message": ""}, "Imported from -", id="empty message"),
        pytest.param({"message": "by hand"}, "by hand", id="message"),
    ],
)
def test_the_message_is_the_comment_of_the_history(client: FlaskClient, engine: Engine, parameters: dict[str, str], comment: str) -> None:
    assert config_of(engine, create(client, {"fromSrc": "-"} | parameters))["history"][0]["comment"] == comment


def test_changes_may_be_repeated(client: FlaskClient, engine: Engine) -> None:
    config = config_of(engine, create(client, {"fromSrc": "-", "changes": ["ENV A=1", "CMD sh"]}))
    assert config["config"] == {"Env": ["A=1"], "Cmd": ["/bin/sh", "-c", "sh"]}


@pytest.mark.parametrize(("version", "architecture"), [("1.31", "amd64"), ("1.32", "arm64")])
def test_platform_counts_from_1_32_on(client: FlaskClient, engine: Engine, version: str, architecture: str) -> None:
    response = create(client, {"fromSrc": "-", "platform": "linux/arm64"}, version=version)
    assert config_of(engine, response)["architecture"] == architecture


def test_parameters_may_come_as_a_form(client: FlaskClient) -> None:
    response = client.post("/images/create?fromSrc=-", data={"repo": "Upper"})
    assert (response.status_code, response.json) == (
        400,
        {"message": "invalid reference format: repository name (library/Upper) must be lowercase"},
    )


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        pytest.param({"repo": "a@sha256:" + "0" * 64}, 400, "cannot import digest reference", id="digest"),
        pytest.param({"repo": "a", "tag": "!"}, 400, "invalid tag format", id="tag"),
        pytest.param({"changes": "RUN x"}, 400, "RUN is not a valid change command", id="change"),
        pytest.param({"changes": ""}, 400, "file with no instructions", id="empty change"),
        pytest.param({"platform": "a/b/c/d"}, 400, '"a/b/c/d": cannot parse platform specifier: invalid argument', id="platform"),
        pytest.param(
            {"fromSrc": "example.com/x"},
            403,
            "importing from a URL is switched off on this server: set STOWAGE_IMPORT_URLS to allow it to fetch example.com/x",
            id="url",
        ),
        pytest.param({"fromSrc": ""}, 500, 'Get "http:": http: no Host in request URL', id="no source"),
        pytest.param({"fromSrc": "", "repo": "a@b"}, 400, "invalid reference format", id="no source for a bad name"),
        pytest.param({"fromSrc": "ftp://a/x"}, 500, 'Get "ftp://a/x": unsupported protocol scheme "ftp"', id="scheme"),
        pytest.param(
            {"fromSrc": "http://me:secret@a/x"},
            400,
            "a URL to import from must not hold a user name or password: they would be kept in the image's history",
            id="password in the url",
        ),
    ],
)
def test_an_import_that_is_refused_answers_a_status(client: FlaskClient, parameters: dict[str, str], status: int, message: str) -> None:
    response = create(client, {"fromSrc": "-"} | parameters)
    assert (response.status_code, response.json) == (status, {"message": message})


def test_garbage_is_refused_with_a_status(client: FlaskClient) -> None:
    response = create(client, {"fromSrc": "-"}, body=b"garbage" * 200)
    assert response.status_code == 400
    assert response.json == {"message": "invalid root file system archive: archive/tar: invalid tar header"}


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        pytest.param({"fromImage": "scratch"}, 403, "'scratch' is a reserved name", id="scratch"),
        pytest.param({"fromImage": "Upper"}, 400, "invalid reference format: repository name (library/Upper) must be lowercase", id="name"),
        pytest.param({"fromImage": "a", "tag": "!"}, 400, "invalid tag format", id="tag"),
        pytest.param(
            {"fromImage": "a", "platform": "a/b/c/d"}, 400, '"a/b/c/d": cannot parse platform specifier: invalid argument', id="platform"
        ),
    ],
)
def test_a_pull_that_is_refused_answers_a_status(client: FlaskClient, parameters: dict[str, str], status: int, message: str) -> None:
    response = create(client, {"fromSrc": "-"} | parameters, body=b"")
    assert (response.status_code, response.json) == (status, {"message": message})


@pytest.mark.parametrize(
    ("parameters", "headers", "has_totals"),
    [
        pytest.param({}, {}, False, id="as Docker"),
        pytest.param({"stowage.totals": "1"}, {}, True, id="parameter"),
        pytest.param({"stowage.totals": "0"}, {}, False, id="parameter that says no"),
        pytest.param({}, {"X-Stowage-Totals": "true"}, True, id="header"),
    ],
)
def test_the_totals_of_a_pull_are_told_to_those_who_ask(
    client: FlaskClient, registry: FakeRegistry, parameters: dict[str, str], headers: dict[str, str], has_totals: bool
) -> None:
    layout = simple_layout()
    name = registry.publish(layout, layout.manifests[0])
    found = lines(create(client, {"fromImage": name, "tag": "1", **parameters}, body=b"", headers=headers))
    assert any(line.get("id") == "Total" for line in found) == has_totals
