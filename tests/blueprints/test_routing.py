"""A route is declared at its view, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema, since, until

blueprint = Blueprint("image_weight", __name__)


class WeightQuery(QuerySchema):
    unit = fields.String(load_default="kg", metadata=since("1.50"))


class WeightItem(ResponseSchema):
    weight = fields.String(data_key="Weight")
    gross = fields.Constant(True, data_key="Gross", metadata=until("1.52"))


@blueprint.get("/images/<path:name>/weight", since="1.45", query=WeightQuery, answer=Answer(WeightItem, many=True), credentials=True)
def image_weight(name: str) -> ResponseReturnValue:
    """GET /images/{name}/weight."""
    return dump([SimpleNamespace(weight=f"{name} 1 {load_query()['unit']}")])


@pytest.fixture
def app(app: Flask) -> Flask:
    app.register_blueprint(blueprint)
    return app


def test_a_view_is_routed_and_answers(app: Flask) -> None:
    assert app.test_client().get("/images/a/b/weight?unit=t").data == b'[{"Weight":"a/b 1 t"}]\n'
    assert app.test_client().post("/images/a/b/weight").status_code == 404


def test_an_upgrade_that_no_route_has_changes_nothing(app: Flask) -> None:
    """As in Go, whose server leaves upgrades to the handlers."""
    for protocol in ("websocket", "tcp", "h2c"):
        answer = app.test_client().get("/images/a/weight", headers={"Connection": "Upgrade", "Upgrade": protocol})
        assert answer.data == b'[{"Weight":"a 1 kg"}]\n'


@pytest.mark.parametrize(
    ("version", "body"),
    [
        pytest.param("1.44", {"message": "GET /images/{name:.*}/weight requires minimum API version 1.45"}, id="before the route"),
        pytest.param("1.49", [{"Weight": "a 1 kg", "Gross": True}], id="before the parameter"),
        pytest.param("1.51", [{"Weight": "a 1 t", "Gross": True}], id="with all of it"),
        pytest.param("1.52", [{"Weight": "a 1 t"}], id="after the field"),
    ],
)
def test_a_view_has_its_versions(app: Flask, version: str, body: object) -> None:
    assert app.test_client().get(f"/v{version}/images/a/weight?unit=t").get_json() == body


def test_a_view_is_described(app: Flask) -> None:
    document: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
    operation = document["paths"]["/images/{name}/weight"]["get"]
    assert operation["x-since"] == "1.45"
    assert [(parameter["name"], parameter.get("x-since")) for parameter in operation["parameters"]] == [
        ("name", None),
        ("unit", "1.50"),
        ("X-Registry-Auth", None),
    ]
    items = operation["responses"]["200"]["content"]["application/json"]["schema"]["items"]
    assert document["components"]["schemas"][items["$ref"].rpartition("/")[2]]["properties"]["Gross"]["x-until"] == "1.52"
