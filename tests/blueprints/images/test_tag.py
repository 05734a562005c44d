"""POST /images/{name}/tag."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import put_image
from tests.listings import all_records


def names(engine: Engine) -> list[str]:
    return [record.name for record in all_records(engine.metadata)]


@pytest.mark.parametrize(
    ("repo", "tag", "name"),
    [
        ("x", "1", "docker.io/library/x:1"),
        ("x", "", "docker.io/library/x:latest"),
        ("a:b", "", "docker.io/library/a:b"),
        ("a:b", "c", "docker.io/library/a:c"),
        ("localhost:5000/a/b", "t", "localhost:5000/a/b:t"),
        ("scratch", "1", "docker.io/library/scratch:1"),
    ],
)
def test_a_tag_is_201_without_a_body(engine: Engine, client: FlaskClient, repo: str, tag: str, name: str) -> None:
    put_image(engine, "app:1")
    response = client.post("/images/app:1/tag", query_string={"repo": repo, "tag": tag})
    assert (response.status_code, response.data, response.headers.get("Content-Type")) == (201, b"", None)
    assert name in names(engine)


def test_repo_and_tag_may_come_as_a_form(engine: Engine, client: FlaskClient) -> None:
    put_image(engine, "app:1")
    assert client.post("/images/app:1/tag", data={"repo": "x", "tag": "form"}).status_code == 201
    assert "docker.io/library/x:form" in names(engine)


def test_an_empty_repo_is_200_and_does_nothing(client: FlaskClient) -> None:
    response = client.post("/images/nope/tag", query_string={"repo": "", "tag": "1"})
    assert (response.status_code, response.data) == (200, b"")


@pytest.mark.parametrize(
    ("image", "repo", "tag", "status", "words"),
    [
        ("app:1", "UPPER", "1", 400, "invalid reference format: repository name (library/UPPER) must be lowercase"),
        ("app:1", "a", "bad tag", 400, "invalid tag format"),
        ("app:1", "sha256", "abc", 400, "refusing to create an ambiguous tag using digest algorithm as name"),
        ("app:1", "a@sha256:" + "a" * 64, "", 400, "cannot import digest reference"),
        ("nope", "a", "1", 404, "No such image: nope:latest"),
        ("UPPER", "a", "1", 404, "invalid reference format: repository name (library/UPPER) must be lowercase"),
    ],
)
def test_what_is_wrong_is_told_in_dockers_words(
    engine: Engine, client: FlaskClient, image: str, repo: str, tag: str, status: int, words: str
) -> None:
    put_image(engine, "app:1")
    response = client.post(f"/images/{image}/tag", query_string={"repo": repo, "tag": tag})
    assert (response.status_code, response.get_json()) == (status, {"message": words})
    assert names(engine) == ["docker.io/library/app:1"]
