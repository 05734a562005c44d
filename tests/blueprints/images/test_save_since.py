"""POST /stowage/images/save and GET /stowage/blobs over HTTP."""

from __future__ import annotations

import io
import tarfile

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import Layout, blob_path, layers_of, put_image, simple_layout

PATH = "/stowage/images/save?names=team/app:1"


@pytest.fixture
def layout(engine: Engine) -> Layout:
    layout = simple_layout()
    put_image(engine, "team/app:1", layout)
    return layout


def names(archive: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return set(opened.getnames())


def test_what_is_listed_is_left_out(client: FlaskClient, layout: Layout) -> None:
    listed = client.get("/stowage/blobs")
    assert (listed.status_code, listed.content_type) == (200, "text/plain")
    assert listed.text.split() == sorted(layout.blobs)
    (layer,) = layers_of(layout, layout.manifests[0])
    whole = client.get("/images/team/app:1/get").data
    for body, kind in ((listed.data, "text/plain"), (whole, None), (listed.data, "application/x-www-form-urlencoded")):
        saved = client.post(PATH, data=body, content_type=kind)
        assert (saved.status_code, saved.content_type) == (200, "application/x-tar")
        assert names(saved.data) == names(whole) - {blob_path(layer["digest"])}


def test_without_a_body_it_is_docker_save(client: FlaskClient, layout: Layout) -> None:
    assert client.post(PATH).data == client.get("/images/team/app:1/get").data


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        pytest.param(PATH, b"trixie", 400, "nor a list of digests: line 1", id="no list"),
        pytest.param("/stowage/images/save?names=absent", b"", 404, "No such image: absent:latest", id="no such image"),
        pytest.param("/v1.45" + PATH, b"", 404, "page not found", id="a version in front"),
    ],
)
def test_refusals(client: FlaskClient, layout: Layout, path: str, body: bytes, status: int, words: str) -> None:
    answer = client.post(path, data=body)
    assert answer.status_code == status
    assert words in answer.get_json()["message"]


def test_the_description_says_that_there_is_no_version_in_front(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    assert [paths[path][method]["servers"] for path, method in (("/stowage/blobs", "get"), ("/stowage/images/save", "post"))] == [
        [{"url": "/"}]
    ] * 2
