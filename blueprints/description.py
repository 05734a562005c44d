"""The OpenAPI description of every route, from the routes and their marshmallow schemas.

A parameter, field or operation that not every API version has is marked with `x-since` (the version that introduced it) and `x-until` (the
first that no longer has it). Source: OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import fields

from stowage.blueprints.routing import JSON, Answer, Route
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.json_schema import ERROR, TEXT, JsonSchema, component, constant
from stowage.blueprints.streaming import PROGRESS_LINE
from stowage.blueprints.versioning import MAX_API_VERSION, MIN_API_VERSION

_FAILURE = {"description": "An error", "content": {JSON: {"schema": component("ErrorResponse")}}}
_REGISTRY_AUTH = {
    "name": "X-Registry-Auth",
    "in": "header",
    "schema": TEXT,
    "description": "The credentials for the registry: a JSON object in base64url",
}
_OPTIONAL = {"since", "until", "omit_empty", "omit_null"}
"""Metadata of a field that is not in every answer."""


class _Converter(OpenAPIConverter):
    """Converts fields to JSON schema, with their versions."""

    def init_attribute_functions(self) -> None:
        super().init_attribute_functions()  # type: ignore[no-untyped-call]
        self.attribute_functions += [self._own_type, self._versions]

    def schema2jsonschema(self, schema: Any) -> dict[str, Any]:
        """An object that requires every field that is always present, and may have others: rules and later versions add some."""
        shape: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        shape.pop("additionalProperties", None)
        required = [each.data_key or name for name, each in schema.fields.items() if not _OPTIONAL & each.metadata.keys()]
        if required:
            shape["required"] = required
        if not schema.may_be_empty:
            shape["minProperties"] = 1
        return shape

    def field2default(self, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
        """The default of a field if JSON can express it; the others are values of the services."""
        expressible = (
            isinstance(field.load_default, (bool, str)) and not isinstance(field, fields.Constant) and "is_required" not in field.metadata
        )
        return {"default": field.load_default} if expressible else {}

    def field2read_only(self, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
        """Nothing: every field of an answer is read-only."""
        return {}

    def _own_type(self, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
        """The type that the class of the field declares, or the field itself."""
        if isinstance(field, fields.Constant):
            return constant(field.constant)
        own: JsonSchema = getattr(field, "json_schema", {}) | field.metadata.get("json_schema", {})
        return own

    def _versions(self, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
        return {f"x-{word}": str(field.metadata[word]) for word in ("since", "until") if word in field.metadata}


class _Plugin(MarshmallowPlugin):
    Converter = _Converter
    converter: _Converter


def describe(routes: Iterable[Route], views: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """The document for these routes, without the page's; `views` maps their endpoints to views."""
    plugin = _Plugin()
    spec = APISpec(
        title="Stowage",
        version=str(MAX_API_VERSION),
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": "Docker Engine's HTTP API for images. " + str(__doc__).split("\n\n")[1].replace("\n", " ")},
        servers=[{"url": "/v{version}", "variables": {"version": {"default": str(MAX_API_VERSION)}}}, {"url": "/"}],
    )
    spec.components.schema("ErrorResponse", ERROR)
    spec.components.schema("ProgressLine", PROGRESS_LINE)
    for route in sorted((route for route in routes if not route.is_page), key=lambda route: route.rule):
        summary = _summary(views[route.endpoint])
        methods = {method.lower(): _operation(plugin.converter, route, method, summary) for method in sorted(route.methods or ())}
        spec.path(path=route.plain_path, operations=methods)
    return spec.to_dict()


def _summary(view: Callable[..., Any]) -> str:
    """What follows the methods and the path in the first line of the view's docstring, or else of its module's."""
    own, module = ((inspect.getdoc(each) or "").partition("\n")[0] for each in (view, inspect.getmodule(view)))
    return (own if ": " in own else module).rpartition(": ")[2]


def _operation(converter: _Converter, route: Route, method: str, summary: str) -> dict[str, Any]:
    parameters = [_path_parameter(word) for word in re.findall(r"{(\w+)}", route.plain_path)] + _query_parameters(converter, route.query)
    operation: dict[str, Any] = {
        "operationId": "_".join([method.lower(), *re.findall(r"\w+", route.plain_path)]) + ("_" if route.rule.endswith("/") else ""),
        "summary": summary,
        "parameters": parameters + [_REGISTRY_AUTH] * route.credentials,
        "responses": _responses(converter, route.answer),
    }
    if route.body:
        operation["requestBody"] = {"content": {route.body: {"schema": {}}}}
    if route.since > MIN_API_VERSION:
        operation["x-since"] = str(route.since)
    if route.is_own:
        operation["servers"] = [{"url": "/"}]
    return operation


def _path_parameter(word: str) -> dict[str, Any]:
    return {"name": word, "in": "path", "required": True, "schema": TEXT}


def _query_parameters(converter: _Converter, query: type[QuerySchema]) -> list[dict[str, Any]]:
    return [_query_parameter(converter, name, field) for name, field in query.timeless().fields.items()]


def _query_parameter(converter: _Converter, name: str, field: fields.Field[Any]) -> dict[str, Any]:
    shape = converter.field2property(field)
    texts = shape.get("items", shape)
    texts.setdefault("type", "string")
    versions = {word: shape.pop(word) for word in ("x-since", "x-until") if word in shape}
    required = {"required": True} if _is_required(field) else {}
    return {"name": field.data_key or name, "in": "query", "schema": shape} | required | versions


def _is_required(field: fields.Field[Any]) -> bool:
    return bool(field.metadata.get("is_required"))


def _responses(converter: _Converter, answer: Answer) -> dict[str, Any]:
    """The outcome that a route declares; all others are an error message."""
    responses: dict[str, Any] = {str(answer.status.value): _outcome(converter, answer), "default": _FAILURE}
    if answer.empty is not None:
        responses[str(answer.empty.value)] = {"description": answer.empty.phrase}
    return responses


def _outcome(converter: _Converter, answer: Answer) -> dict[str, Any]:
    described = {"description": answer.words or ("One JSON document per line" if answer.stream else answer.status.phrase)}
    if answer.status >= HTTPStatus.BAD_REQUEST:
        return _FAILURE | described
    if answer.schema is None:
        return described
    schema = _body_schema(converter, answer)
    return described | {"content": {kind: {"schema": schema} | words for kind, words in answer.media_types.items()}}


def _body_schema(converter: _Converter, answer: Answer) -> dict[str, Any]:
    for schema in answer.uses:
        _reference(converter, schema)
    shape: dict[str, Any] = answer.schema if isinstance(answer.schema, dict) else _reference(converter, answer.schema)
    return {"type": "array", "items": shape} if answer.many else shape


def _reference(converter: _Converter, schema: Any) -> dict[str, Any]:
    """A reference to the schema, which is added to the components."""
    return dict(converter.resolve_nested_schema(schema.timeless()))  # type: ignore[no-untyped-call]
