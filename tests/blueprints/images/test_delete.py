"""DELETE /images/{name}."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from stowage.services.images.tag import tag_image
from stowage.services.oci.reference import Reference
from tests.builders import Layout, put_image
from tests.listings import all_records

PLATFORM = '{"os":"linux","architecture":"amd64"}'


def test_what_went_is_told_in_order_without_empty_keys(engine: Engine, client: FlaskClient) -> None:
    digest = str(put_image(engine, "team/app:1"))
    response = client.delete("/images/team/app:1")
    assert (response.status_code, response.get_json()) == (200, [{"Untagged": "team/app:1"}, {"Deleted": digest}])


@pytest.mark.parametrize(("force", "status"), [("0", 409), ("", 409), ("1", 200), ("banana", 200)])
def test_an_id_with_two_names_must_be_forced(engine: Engine, client: FlaskClient, force: str, status: int) -> None:
    digest = put_image(engine, "app:1")
    tag_image(engine, "app:1", Reference.parse("app:2"))
    response = client.delete(f"/images/{digest.short}", query_string={"force": force})
    assert response.status_code == status


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("%20", 400, "image name cannot be blank"), ("nope", 404, "No such image: nope:latest"), ("a..b", 400, "invalid reference format")],
)
def test_what_is_wrong_is_told_in_dockers_words(client: FlaskClient, name: str, status: int, words: str) -> None:
    response = client.delete(f"/images/{name}", query_string={"force": "1"})
    assert (response.status_code, response.get_json()) == (status, {"message": words})


@pytest.mark.parametrize(
    ("name", "words"),
    [("%20", "image name cannot be blank"), ("a..b", "failed to parse platform: invalid character 'b' looking for beginning of value")],
    ids=["a blank name comes first", "a malformed one does not"],
)
def test_what_is_wrong_is_told_in_mobys_order(client: FlaskClient, name: str, words: str) -> None:
    response = client.delete(f"/v1.56/images/{name}?platforms=bad&force=1")
    assert (response.status_code, response.get_json()) == (400, {"message": words})


@pytest.mark.parametrize(
    ("version", "query", "status"),
    [
        ("1.49", {"platforms": PLATFORM}, 200),
        ("1.50", {"platforms": PLATFORM}, 400),
        ("1.50", {"platforms": "bad"}, 400),
        ("1.50", {"platforms": PLATFORM, "force": "1"}, 409),
    ],
    ids=["unknown below 1.50", "not forced", "no JSON", "the image itself"],
)
def test_platforms_are_read_from_1_50(engine: Engine, client: FlaskClient, version: str, query: dict[str, str], status: int) -> None:
    put_image(engine, "app:1")
    assert client.delete(f"/v{version}/images/app:1", query_string=query).status_code == status
    assert bool(all_records(engine.metadata)) is (status != 200)


def test_platforms_that_went_are_told(engine: Engine, client: FlaskClient) -> None:
    layout = Layout()
    index = layout.multi_platform(attested=False)
    put_image(engine, "app:1", layout, index)
    amd64, arm64, _ = (each["digest"] for each in json.loads(layout.blobs[index["digest"]])["manifests"])
    response = client.delete("/images/app:1", query_string={"force": "1", "platforms": ['{"os":"linux","architecture":"arm64"}', PLATFORM]})
    assert (response.status_code, response.get_json()) == (200, [{"Deleted": arm64}, {"Deleted": amd64}])
