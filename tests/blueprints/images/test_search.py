"""GET /images/search."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from tests.fake_registry.index import FakeIndex


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    with FakeIndex(
        results=[{"name": "team/app", "description": "<b>&", "star_count": 7, "is_official": True, "is_automated": True}]
    ).serve() as running:
        yield running


def test_results_have_dockers_fields_in_dockers_order(client: FlaskClient, index: FakeIndex) -> None:
    response = client.get("/v1.45/images/search", query_string={"term": f"{index.host}/app"})
    assert response.content_type == "application/json"
    assert response.data == b'[{"star_count":7,"is_official":true,"name":"team/app","is_automated":false,"description":"<b>&"}]\n'


def test_nothing_found_is_an_empty_list(client: FlaskClient, index: FakeIndex) -> None:
    response = client.get("/images/search", query_string={"term": f"{index.host}/app", "filters": '{"stars":["8"]}'})
    assert (response.status_code, response.data) == (200, b"[]\n")


def test_credentials_and_meta_headers_go_to_the_index(client: FlaskClient, index: FakeIndex) -> None:
    auth = base64.urlsafe_b64encode(json.dumps({"username": "alice", "password": "secret", "serveraddress": index.host}).encode()).decode()
    client.get(
        "/images/search", query_string={"term": f"{index.host}/app"}, headers={"X-Registry-Auth": auth, "X-Meta-Build": "7", "X-Other": "8"}
    )
    sent = index.searches[0].headers
    assert (sent["Authorization"], sent["X-Meta-Build"], sent.get("X-Other")) == ("Basic YWxpY2U6c2VjcmV0", "7", None)


@pytest.mark.parametrize("limit", ["", "0", "+5", "100"])
def test_a_limit_is_a_number_or_nothing(client: FlaskClient, index: FakeIndex, limit: str) -> None:
    assert client.get("/images/search", query_string={"term": f"{index.host}/app", "limit": limit}).status_code == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "x"}, 'invalid limit specified: strconv.Atoi: parsing "x": invalid syntax'),
        ({"limit": " 5"}, 'invalid limit specified: strconv.Atoi: parsing " 5": invalid syntax'),
        ({"limit": "9" * 20}, f'invalid limit specified: strconv.Atoi: parsing "{"9" * 20}": value out of range'),
        ({"limit": "-1"}, "invalid limit specified"),
        ({"limit": "101"}, "limit 101 is outside the range of [1, 100]"),
        ({"limit": "x", "filters": "nope"}, 'invalid limit specified: strconv.Atoi: parsing "x": invalid syntax'),
        ({"filters": "nope"}, "invalid filter"),
        ({"filters": '{"name":["x"]}'}, "invalid filter 'name'"),
        (
            {"term": "https://registry.example/x"},
            "invalid repository name: repository name (https://registry.example/x) should not have a scheme",
        ),
    ],
)
def test_what_makes_no_sense_is_400(client: FlaskClient, query: dict[str, str], message: str) -> None:
    response = client.get("/images/search", query_string={"term": "app", **query})
    assert (response.status_code, response.get_json()) == (400, {"message": message})
