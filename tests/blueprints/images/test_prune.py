"""POST /images/prune."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from stowage.services.gc.collector import Swept
from stowage.services.images import prune
from tests.builders import put_image, simple_layout


def test_nothing_to_prune_is_null_and_zero(client: FlaskClient) -> None:
    response = client.post("/images/prune")
    assert (response.status_code, response.get_json()) == (200, {"ImagesDeleted": None, "SpaceReclaimed": 0})


def test_what_went_is_reported(engine: Engine, client: FlaskClient) -> None:
    layout = simple_layout()
    digest = str(put_image(engine, "app:1", layout))
    response = client.post("/images/prune", query_string={"filters": '{"dangling":["false"]}'})
    assert response.get_json() == {
        "ImagesDeleted": [{"Untagged": "app:1"}, {"Deleted": digest}],
        "SpaceReclaimed": sum(map(len, layout.blobs.values())),
    }


def test_filters_without_sense_are_400(client: FlaskClient) -> None:
    response = client.post("/images/prune", query_string={"filters": '{"dangling":["banana"]}'})
    assert (response.status_code, response.get_json()) == (400, {"message": "invalid filter 'dangling=[banana]'"})


def test_the_route_is_younger_than_1_24(client: FlaskClient) -> None:
    response = client.post("/v1.24/images/prune")
    assert (response.status_code, response.get_json()) == (400, {"message": "POST /images/prune requires minimum API version 1.25"})


def test_a_prune_beside_another_is_409(engine: Engine, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[tuple[int, object]] = []

    def prune_again(*_: object) -> Swept:
        response = client.post("/images/prune")
        answers.append((response.status_code, response.get_json()))
        return Swept({})

    monkeypatch.setattr(prune, "collect_unused", prune_again)
    assert client.post("/images/prune").status_code == 200
    assert answers == [(409, {"message": "a prune operation is already running"})]
    monkeypatch.undo()
    assert client.post("/images/prune").status_code == 200
