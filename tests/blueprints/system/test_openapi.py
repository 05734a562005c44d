"""GET /openapi.json."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from blueprints.schemas.base import QuerySchema
from blueprints.versioning import VersionedRule
from services.engine import Engine
from tests.builders import put_image


@pytest.fixture
def description(client: FlaskClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").get_json()
    return document


def test_it_is_a_valid_document_of_openapi(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(description).iter_errors()] == []


def test_every_route_is_in_it_and_has_a_name_of_its_own(app: Flask, description: dict[str, Any]) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if isinstance(rule, VersionedRule)]
    described = {(path, method) for path, operations in description["paths"].items() for method in operations}
    assert described == {(rule.plain_path, method.lower()) for rule in rules for method in rule.methods or ()}
    names = [operation["operationId"] for operations in description["paths"].values() for operation in operations.values()]
    assert len(names) == len(set(names)) == len(described)


def test_every_parameter_of_a_query_is_in_it(app: Flask, description: dict[str, Any]) -> None:
    for rule in app.url_map.iter_rules():
        assert isinstance(rule, VersionedRule)
        module = inspect.getmodule(app.view_functions[rule.endpoint])
        if rule.endpoint.startswith("system_absent"):
            continue
        schemas = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, QuerySchema)]
        wanted = {field.data_key or name for schema in schemas for name, field in schema._declared_fields.items()}
        for method in rule.methods or ():
            parameters = description["paths"][rule.plain_path][method.lower()]["parameters"]
            assert {parameter["name"] for parameter in parameters if parameter["in"] == "query"} == wanted, rule.rule


def test_versions_are_told(description: dict[str, Any]) -> None:
    operation = description["paths"]["/images/json"]["get"]
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert parameters["identity"]["x-since"] == "1.54"
    assert parameters["filter"]["x-until"] == "1.41"
    assert description["components"]["schemas"]["ImageItem"]["properties"]["VirtualSize"]["x-until"] == "1.44"
    assert description["paths"]["/distribution/{name}/json"]["get"]["x-since"] == "1.30"
    assert "x-since" not in operation


@pytest.mark.parametrize("version", ["1.24", "1.43", "1.45", "1.49", "1.52", "1.56"])
@pytest.mark.parametrize(
    ("method", "route", "path"),
    [
        pytest.param("GET", "/info", "/info", id="info"),
        pytest.param("GET", "/version", "/version", id="version"),
        pytest.param("GET", "/images/json", "/images/json", id="list"),
        pytest.param("GET", "/images/json", "/images/json?manifests=1&shared-size=1", id="list with manifests"),
        pytest.param("GET", "/images/{name}/json", "/images/simple/json", id="inspect"),
        pytest.param("GET", "/images/{name}/history", "/images/simple/history", id="history"),
        pytest.param("GET", "/system/df", "/system/df", id="df"),
        pytest.param("DELETE", "/images/{name}", "/images/simple", id="delete"),
        pytest.param("POST", "/images/prune", "/images/prune", id="prune"),
    ],
)
def test_answers_are_as_described(
    client: FlaskClient, engine: Engine, description: dict[str, Any], version: str, method: str, route: str, path: str
) -> None:
    put_image(engine)
    if version == "1.24" and route == "/images/prune":
        version = "1.25"
    answer = client.open(f"/v{version}{path}", method=method)
    assert answer.status_code == 200
    schema = description["paths"][route][method.lower()]["responses"]["200"]["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**schema, "components": description["components"]})
    assert [error.message for error in validator.iter_errors(answer.get_json())] == []
