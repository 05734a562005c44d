"""The OpenAPI description of every route, from the routes and their marshmallow schemas.

A parameter, field or operation that not every API version has says so in `x-since` (the version that brought it) and `x-until` (the first
that no longer has it). Source: OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import ModuleType
from typing import Any, cast

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import fields

from blueprints.distribution.inspect import DistributionResponse
from blueprints.images.attestations import AttestationItem
from blueprints.images.history import HistoryItem
from blueprints.images.inspect import ImageDetails
from blueprints.images.list import ImageItem
from blueprints.images.prune import PruneReport
from blueprints.images.search import SearchItem
from blueprints.schemas.base import QuerySchema, ResponseSchema
from blueprints.schemas.image import RemovalItem
from blueprints.schemas.json_schema import BOOLEAN, INTEGER, TEXT, JsonSchema, component, constant, record
from blueprints.system.absent import ANSWERS, Answer
from blueprints.system.auth import AuthResponse
from blueprints.system.df import DiskUsageResponse, ImageUsageResponse
from blueprints.system.events import STREAM_TYPES, EventItem
from blueprints.system.info import InfoResponse
from blueprints.system.version import VersionResponse
from blueprints.versioning import MAX_API_VERSION, MIN_API_VERSION, VersionedRule

_JSON = "application/json"
_TAR = "application/x-tar"


@dataclass(frozen=True, slots=True)
class Body:
    """What an operation answers when all is well: one value of a schema, a list of them (`many`), or a stream of them (`stream`).

    `media_types` are those it may come in; the value of each is what is to be said of it.
    """

    schema: type[ResponseSchema] | JsonSchema
    media_types: Mapping[str, JsonSchema] = field(default_factory=lambda: {_JSON: {}})
    many: bool = False
    stream: bool = False
    status: HTTPStatus = HTTPStatus.OK
    empty: HTTPStatus | None = None
    """A second outcome, which has no body."""


_ERROR = record({"message": TEXT})
_DETAIL = record({}, {"current": INTEGER, "total": INTEGER, "hidecounts": BOOLEAN, "units": TEXT})
_LINE = {"minProperties": 1} | record(
    {},
    {
        "stream": TEXT,
        "status": TEXT,
        "progressDetail": _DETAIL,
        "id": TEXT,
        "aux": {"type": "object"},
        "error": TEXT,
        "errorDetail": _ERROR,
    },
)
_DOCUMENT = record({"openapi": TEXT, "info": {"type": "object"}, "paths": {"type": "object"}})
_FAILURE = {"description": "An error", "content": {_JSON: {"schema": component("ErrorResponse")}}}
_PROGRESS = Body(component("ProgressLine"), stream=True)
_EVENTS = Body(EventItem, {**{kind: {} for kind in STREAM_TYPES}, _JSON: {"x-until": "1.52"}}, stream=True)
_ARCHIVE = Body({"type": "string", "format": "binary"}, {_TAR: {}})
_NOTHING: dict[str, Any] = {}

BODIES = {
    "distribution_inspect": Body(DistributionResponse),
    "image_attestations": Body(AttestationItem, many=True),
    "image_create": _PROGRESS,
    "image_delete": Body(RemovalItem, many=True),
    "image_get": _ARCHIVE,
    "image_get_several": _ARCHIVE,
    "image_history": Body(HistoryItem, many=True),
    "image_inspect": Body(ImageDetails),
    "image_list": Body(ImageItem, many=True),
    "image_load": _PROGRESS,
    "image_prune": Body(PruneReport),
    "image_push": _PROGRESS,
    "image_search": Body(SearchItem, many=True),
    "image_tag": Body(_NOTHING, status=HTTPStatus.CREATED, empty=HTTPStatus.OK),
    "system_auth": Body(AuthResponse),
    "system_df": Body(DiskUsageResponse),
    "system_events": _EVENTS,
    "system_info": Body(InfoResponse),
    "system_openapi": Body(_DOCUMENT),
    "system_options": Body(_NOTHING),
    "system_ping": Body(TEXT, {"text/plain": {}}),
    "system_version": Body(VersionResponse),
}
"""By the names of the views; those of the absent routes are in their own table."""

_AUTHORIZED = {"registry_auth", "push_auth"}
"""A module that has one of these reads X-Registry-Auth."""

_REGISTRY_AUTH = {
    "name": "X-Registry-Auth",
    "in": "header",
    "schema": TEXT,
    "description": "The credentials for the registry: a JSON object in base64url",
}

_REQUEST_TYPES = {"image_create": _TAR, "image_load": _TAR, "system_auth": _JSON}


_OPTIONAL = {"since", "until", "omit_empty", "omit_null"}
"""Metadata of a field that is not in every answer."""


class _Converter(OpenAPIConverter):
    """Fields of the wire as JSON schema, with their versions."""

    def init_attribute_functions(self) -> None:
        super().init_attribute_functions()  # type: ignore[no-untyped-call]
        self.attribute_functions += [self._own_type, self._versions]

    def schema2jsonschema(self, schema: Any) -> dict[str, Any]:
        """An object whose every field that is always there is required, and that may have more: rules add some, and later versions more."""
        shape: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        shape.pop("additionalProperties", None)
        required = [each.data_key or name for name, each in schema.fields.items() if not _OPTIONAL & each.metadata.keys()]
        if required:
            shape["required"] = required
        if not schema.may_be_empty:
            shape["minProperties"] = 1
        return shape

    def field2default(self, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
        """Only what JSON has: the defaults of queries are values of the services."""
        told = isinstance(field.load_default, (bool, str)) and not isinstance(field, fields.Constant)
        return {"default": field.load_default} if told else {}

    def field2read_only(self, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
        """Nothing: every field of an answer is."""
        return {}

    def _own_type(self, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
        """What the class of the field says, or the field itself."""
        if isinstance(field, fields.Constant):
            return constant(field.constant)
        own: JsonSchema = getattr(field, "json_schema", {}) | field.metadata.get("json_schema", {})
        return own

    def _versions(self, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
        return {f"x-{word}": str(field.metadata[word]) for word in ("since", "until") if word in field.metadata}


class _Plugin(MarshmallowPlugin):
    Converter = _Converter
    converter: _Converter


def describe(rules: Iterable[VersionedRule], views: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """The document for these routes, whose views are found by the rules' endpoints."""
    plugin = _Plugin()
    spec = APISpec(
        title="Stowage",
        version=str(MAX_API_VERSION),
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": "Docker Engine's HTTP API for images. " + str(__doc__).split("\n\n")[1].replace("\n", " ")},
        servers=[{"url": "/v{version}", "variables": {"version": {"default": str(MAX_API_VERSION)}}}, {"url": "/"}],
    )
    spec.components.schema("ErrorResponse", _ERROR)
    spec.components.schema("ProgressLine", _LINE)
    _reference(plugin.converter, ImageUsageResponse)
    for rule in sorted(rules, key=lambda rule: rule.rule):
        methods = {
            method.lower(): _operation(plugin.converter, rule, method, views[rule.endpoint]) for method in sorted(rule.methods or ())
        }
        spec.path(path=rule.plain_path, operations=methods)
    return spec.to_dict()


def _operation(converter: _Converter, rule: VersionedRule, method: str, view: Callable[..., Any]) -> dict[str, Any]:
    name = rule.endpoint.rpartition(".")[2]
    module, absent = cast(ModuleType, inspect.getmodule(view)), ANSWERS.get((method, rule.rule))
    used = _used_queries(module) if absent is None else [absent.query]
    parameters = [_path_parameter(word) for word in re.findall(r"{(\w+)}", rule.plain_path)] + _query_parameters(converter, used)
    operation: dict[str, Any] = {
        "operationId": "_".join([method.lower(), *re.findall(r"\w+", rule.plain_path)]) + ("_" if rule.rule.endswith("/") else ""),
        "summary": (inspect.getdoc(module) or "").partition("\n")[0].rpartition(": ")[2],
        "parameters": parameters + [_REGISTRY_AUTH] * bool(_AUTHORIZED & vars(module).keys()),
        "responses": _responses(converter, name) if absent is None else _absent_responses(absent),
    }
    if name in _REQUEST_TYPES:
        operation["requestBody"] = {"content": {_REQUEST_TYPES[name]: {"schema": {}}}}
    if rule.since > MIN_API_VERSION:
        operation["x-since"] = str(rule.since)
    return operation


def _path_parameter(word: str) -> dict[str, Any]:
    return {"name": word, "in": "path", "required": True, "schema": TEXT}


def _used_queries(module: ModuleType) -> list[type[QuerySchema]]:
    """The query schemas that an endpoint's module uses: of those it sees, the ones that no other is derived from."""
    schemas = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, QuerySchema)]
    return [schema for schema in schemas if not any(other is not schema and issubclass(other, schema) for other in schemas)]


def _query_parameters(converter: _Converter, schemas: list[type[QuerySchema]]) -> list[dict[str, Any]]:
    return [_query_parameter(converter, name, field) for schema in schemas for name, field in schema.timeless().fields.items()]


def _query_parameter(converter: _Converter, name: str, field: fields.Field[Any]) -> dict[str, Any]:
    shape = converter.field2property(field)
    texts = shape.get("items", shape)
    texts.setdefault("type", "string")
    versions = {word: shape.pop(word) for word in ("x-since", "x-until") if word in shape}
    return {"name": field.data_key or name, "in": "query", "schema": shape} | versions


def _responses(converter: _Converter, name: str) -> dict[str, Any]:
    """The outcome that an operation is there for; all others are an error message."""
    body = BODIES[name]
    response: dict[str, Any] = {"description": "One JSON document per line" if body.stream else body.status.phrase}
    if body.schema is not _NOTHING:
        schema = _body_schema(converter, body)
        response["content"] = {kind: {"schema": schema} | words for kind, words in body.media_types.items()}
    return {str(body.status.value): response, **_empty(body.empty), "default": _FAILURE}


def _empty(status: HTTPStatus | None) -> dict[str, Any]:
    return {} if status is None else {str(status.value): {"description": status.phrase}}


def _absent_responses(answer: Answer) -> dict[str, Any]:
    """That there is nothing: an empty list or report, or an error of its own status."""
    nothing = {"description": "Nothing, which is the truth", "content": {_JSON: {"schema": constant(answer.body)}}}
    outcome = nothing if answer.status == HTTPStatus.OK else _FAILURE | {"description": answer.status.phrase}
    return {str(answer.status.value): outcome, **_empty(answer.empty), "default": _FAILURE}


def _body_schema(converter: _Converter, body: Body) -> dict[str, Any]:
    shape: dict[str, Any] = body.schema if isinstance(body.schema, dict) else _reference(converter, body.schema)
    return {"type": "array", "items": shape} if body.many else shape


def _reference(converter: _Converter, schema: type[ResponseSchema]) -> dict[str, Any]:
    """A reference to the schema, which is now among the components."""
    return dict(converter.resolve_nested_schema(schema.timeless()))  # type: ignore[no-untyped-call]
