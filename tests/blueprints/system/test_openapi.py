"""GET /openapi.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from stowage.blueprints.routing import Route
from stowage.blueprints.system.openapi import system_openapi
from stowage.services.engine import Engine
from stowage.services.metadata.records import Actor
from tests.builders import Layout, put_image, simple_layout

EMPTY: tuple[Any, ...] = ({}, [{}])
GARBAGE: tuple[Any, ...] = (True, 7.5, "text", [[]], {"": [[]]})
FREE = {"AttestationItem.Statement"}
"""What may be any JSON."""


@pytest.fixture
def description(client: FlaskClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").get_json()
    return document


def test_it_is_a_valid_document_of_openapi(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(description).iter_errors()] == []


def test_a_parameter_without_a_default_is_required(description: dict[str, Any]) -> None:
    parameters = description["paths"]["/stowage/difference"]["get"]["parameters"]
    assert {each["name"] for each in parameters if each.get("required")} == {"left", "right"}


def test_it_is_made_once(client: FlaskClient, app: Flask, description: dict[str, Any]) -> None:
    app.view_functions.clear()  # so it cannot be made again, and only a kept view can answer
    app.view_functions["system_openapi.system_openapi"] = system_openapi
    assert client.get("/openapi.json").get_json() == description


def test_every_route_but_the_page_is_in_it_and_has_a_name_of_its_own(app: Flask, description: dict[str, Any]) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if isinstance(rule, Route) and not rule.is_page]
    described = {(path, method) for path, operations in description["paths"].items() for method in operations}
    assert described == {(rule.plain_path, method.lower()) for rule in rules for method in rule.methods or ()}
    names = [operation["operationId"] for operations in description["paths"].values() for operation in operations.values()]
    assert len(names) == len(set(names)) == len(described)


def test_every_parameter_of_a_query_is_in_it(app: Flask, description: dict[str, Any]) -> None:
    for route in app.url_map.iter_rules():
        if not isinstance(route, Route) or route.is_page:
            continue
        wanted = {field.data_key or name for name, field in route.query._declared_fields.items()}
        for method in route.methods or ():
            parameters = description["paths"][route.plain_path][method.lower()]["parameters"]
            assert {parameter["name"] for parameter in parameters if parameter["in"] == "query"} == wanted, route.rule


def validator(description: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """The schema with the components that it may refer to."""
    return Draft202012Validator({**schema, "components": description["components"]})


def described_answers(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and schema of every answer that tells success in JSON."""
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                for media_type, content in response.get("content", {}).items():
                    if status.startswith("2") and "json" in media_type:
                        yield f"{method} {path} {media_type}", content["schema"]


def inner_schemas(name: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, itself included, by its path."""
    yield name, schema
    for key, each in schema.get("properties", {}).items():
        yield from inner_schemas(f"{name}.{key}", each)
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from inner_schemas(f"{name}.{word}", schema[word])


def test_no_answer_may_be_without_its_fields(description: dict[str, Any]) -> None:
    answers = dict(described_answers(description))
    assert len(answers) > 25
    assert [name for name, schema in answers.items() for empty in EMPTY if validator(description, schema).is_valid(empty)] == []


def test_every_value_has_a_type(description: dict[str, Any]) -> None:
    schemas = [pair for name, schema in description["components"]["schemas"].items() for pair in inner_schemas(name, schema)]
    assert len(schemas) > 200
    assert {name for name, schema in schemas if sum(map(validator(description, schema).is_valid, GARBAGE)) > 1} == FREE


def test_null_is_described_where_it_is_sent_only(description: dict[str, Any]) -> None:
    schema = description["components"]["schemas"]["ImageItem"]["properties"]
    assert [key for key in schema if validator(description, schema[key]).is_valid(None)] == ["Labels", "RepoDigests", "RepoTags"]


def test_parameters_that_change_nothing_are_in_it(description: dict[str, Any]) -> None:
    for method, path, name in (
        ("get", "/images/json", "all"),
        ("get", "/images/json", "digests"),
        ("delete", "/images/{name}", "noprune"),
        ("post", "/images/load", "quiet"),
    ):
        parameters = {parameter["name"]: parameter["schema"] for parameter in description["paths"][path][method]["parameters"]}
        assert parameters[name]["type"] == "boolean"


def test_credentials_are_a_header_of_what_asks_a_registry(description: dict[str, Any]) -> None:
    asking = {
        path
        for path, operations in description["paths"].items()
        for operation in operations.values()
        if "X-Registry-Auth" in [parameter["name"] for parameter in operation["parameters"]]
    }
    assert asking == {"/images/create", "/images/{name}/push", "/images/search", "/distribution/{name}/json"}


@pytest.mark.parametrize("version", ["1.24", "1.51", "1.52", "1.56"])
@pytest.mark.parametrize("accept", ["", "application/x-ndjson", "application/json-seq", "application/jsonl"])
def test_events_are_as_described(client: FlaskClient, engine: Engine, description: dict[str, Any], version: str, accept: str) -> None:
    with engine.metadata.write() as tx:
        tx.events.append(time=5_000_000_007, event_type="image", action="tag", actor=Actor("sha256:a", {"name": "app:1"}))
    answer = client.get(f"/v{version}/events?until=9", headers={"Accept": accept})
    content = description["paths"]["/events"]["get"]["responses"]["200"]["content"]
    schema = content[answer.content_type]["schema"]
    assert content["application/json"]["x-until"] == "1.52"
    lines = answer.get_data().replace(b"\x1e", b"").splitlines()
    assert len(lines) == 1
    assert [error.message for line in lines for error in validator(description, schema).iter_errors(json.loads(line))] == []


def test_versions_are_told(description: dict[str, Any]) -> None:
    operation = description["paths"]["/images/json"]["get"]
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert parameters["identity"]["x-since"] == "1.54"
    assert parameters["filter"]["x-until"] == "1.41"
    assert description["components"]["schemas"]["ImageItem"]["properties"]["VirtualSize"]["x-until"] == "1.44"
    assert description["paths"]["/distribution/{name}/json"]["get"]["x-since"] == "1.30"
    assert "x-since" not in operation
    schemas = description["components"]["schemas"]
    assert [schemas[name]["properties"]["Manifests"]["x-since"] for name in ("ImageItem", "ImageDetails")] == ["1.47", "1.48"]
    assert [schemas["EventItem"]["properties"][key]["x-until"] for key in ("status", "id")] == ["1.52", "1.52"]
    assert schemas["ManifestItem"]["properties"]["ImageData"]["properties"]["Identity"]["x-since"] == "1.54"


@pytest.mark.parametrize("version", ["1.24", "1.43", "1.45", "1.49", "1.52", "1.56"])
@pytest.mark.parametrize(
    ("method", "route", "path"),
    [
        pytest.param("GET", "/info", "/info", id="info"),
        pytest.param("GET", "/version", "/version", id="version"),
        pytest.param("GET", "/images/json", "/images/json", id="list"),
        pytest.param("GET", "/images/json", "/images/json?manifests=1&shared-size=1", id="list with manifests"),
        pytest.param("GET", "/images/{name}/json", "/images/simple/json", id="inspect"),
        pytest.param("GET", "/images/{name}/json", "/images/multi/json?manifests=1", id="inspect with manifests"),
        pytest.param("GET", "/images/{name}/attestations", "/images/multi/attestations?statement=1", id="attestations"),
        pytest.param("GET", "/volumes", "/volumes", id="volumes"),
        pytest.param("GET", "/images/{name}/history", "/images/simple/history", id="history"),
        pytest.param("GET", "/system/df", "/system/df", id="df"),
        pytest.param("DELETE", "/images/{name}", "/images/simple", id="delete"),
        pytest.param("POST", "/images/prune", "/images/prune", id="prune"),
    ],
)
def test_answers_are_as_described(
    client: FlaskClient, engine: Engine, description: dict[str, Any], version: str, method: str, route: str, path: str
) -> None:
    layout, without_tag = Layout(), simple_layout(label="without tag")
    put_image(engine)
    put_image(engine, "multi", layout, layout.multi_platform())
    put_image(engine, f"team/app@{without_tag.manifests[0]['digest']}", without_tag)
    version = max(version, description["paths"][route][method.lower()].get("x-since", version))
    answer = client.open(f"/v{version}{path}", method=method)
    assert answer.status_code == 200
    schema = description["paths"][route][method.lower()]["responses"]["200"]["content"]["application/json"]["schema"]
    assert [error.message for error in validator(description, schema).iter_errors(answer.get_json())] == []


@pytest.mark.parametrize(
    ("route", "path"),
    [
        pytest.param("/stowage/images/{name}/files", "/stowage/images/multi/files", id="files"),
        pytest.param("/stowage/images/{name}/files", "/stowage/images/multi/files?layer=1&view=flat", id="files of a layer"),
        pytest.param("/stowage/difference", "/stowage/difference?left=simple&right=multi", id="difference"),
    ],
)
def test_facts_are_as_described(client: FlaskClient, engine: Engine, description: dict[str, Any], route: str, path: str) -> None:
    layout = Layout()
    put_image(engine)
    put_image(engine, "multi", layout, layout.multi_platform())
    answer = client.get(path)
    assert answer.status_code == 200
    schema = description["paths"][route]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert [error.message for error in validator(description, schema).iter_errors(answer.get_json())] == []
