"""moby's description of its API as JSON schema, and what an answer has that is not in it.

A problem is a line of text that tells the definition and the property, such as `ImageSummary.Labels is null`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema import Draft4Validator, FormatChecker, ValidationError

from tests.conformance.swagger.changes import ERROR, NEW_OPERATIONS, Change

Node = dict[str, Any]
KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer", float: "a number", type(None): "null"}
FORMATS = FormatChecker(["date-time"])
JSON = "application/json"


class Description:
    """A Swagger 2.0 document of API 1.45, with the changes that came up to a version."""

    def __init__(self, document: Node, changes: Iterable[Change], version: str) -> None:
        self._definitions: Node = dict(document["definitions"])
        self._responses: Node = {}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                self._responses[f"{method.upper()} {path}"] = {str(status): answer for status, answer in operation["responses"].items()}
        self._responses |= NEW_OPERATIONS
        self._name_inline_definitions()
        for change in changes:
            if change.since <= version:
                self._apply(change)

    def _name_inline_definitions(self) -> None:
        """Give the body of an operation that has no definition the operation's own name, so that a change can refer to it."""
        for operation, responses in self._responses.items():
            shape = responses.get("200", {}).get("schema", {})
            if "properties" in shape:
                self._definitions[operation] = shape
                responses["200"] = {"schema": {"$ref": operation}}

    def _apply(self, change: Change) -> None:
        old = self._definitions.get(change.definition, {"type": "object"})
        properties = {**old.get("properties", {}), **change.added}
        for name in change.removed:
            del properties[name]
        required = {*old.get("required", ()), *change.required} & properties.keys()
        self._definitions[change.definition] = {**old, "properties": properties, "required": sorted(required)}

    @property
    def operations(self) -> set[str]:
        """Such as `GET /images/json`."""
        return set(self._responses)

    def status_problems(self, operation: str, status: int, headers: Any) -> Iterator[str]:
        """Of the status and of the headers that it is to have."""
        response = self._responses[operation].get(str(status))
        if response is None:
            yield f"status {status} is not described"
        else:
            yield from (f"header {name} is missing" for name in response.get("headers", ()) if name not in headers)

    def body_problems(self, operation: str, status: int, content_type: str | None, body: bytes) -> Iterator[str]:
        """Of a JSON body, that of an error where the status is not described. Texts and archives are strings in the file, and not looked
        at.
        """
        shape = self._responses[operation].get(str(status), ERROR).get("schema")
        if shape is None or shape.get("type") == "string" or operation.startswith("HEAD "):
            return
        if content_type == JSON:
            yield from _problems(self._schema(shape, operation), json.loads(body))
        else:
            yield f"{content_type} instead of {JSON}"

    def line_problems(self, definition: str, content_type: str | None, lines: Iterable[object]) -> Iterator[str]:
        """Of a stream whose lines have one definition."""
        if content_type != JSON:
            yield f"{content_type} instead of {JSON}"
        schema = self._schema({"$ref": definition}, definition)
        for line in lines:
            yield from _problems(schema, line)

    def _schema(self, node: Node, place: str, owner: str = "") -> Node:
        """A JSON schema without references, which refuses names that are not described.

        `title` is the place of a value, `owner` the definition that it follows.
        """
        if "$ref" in node:
            name = node["$ref"].removeprefix("#/definitions/")
            return self._schema(self._definitions[name] | {key: node[key] for key in ("x-nullable",) if key in node}, place, name)
        owner = owner or place
        schema: Node = {"title": place, "owner": owner, **{key: node[key] for key in ("type", "enum", "required") if node.get(key)}}
        if node.get("format") in ("dateTime", "date-time"):
            schema["format"] = "date-time"
        if "items" in node:
            schema["items"] = self._schema(node["items"], f"{place}[]")
        if "properties" in node:
            schema["properties"] = {name: self._schema(part, f"{owner}.{name}") for name, part in node["properties"].items()}
            schema["additionalProperties"] = False
        elif "additionalProperties" in node:
            schema["additionalProperties"] = self._schema(node["additionalProperties"], f"{place}.*")
        return _nullable(schema, node)


def _nullable(schema: Node, node: Node) -> Node:
    if not node.get("x-nullable"):
        return schema
    return schema | {"type": [schema["type"], "null"]} | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


def _problems(schema: Node, value: object) -> Iterator[str]:
    for error in Draft4Validator(schema, format_checker=FORMATS).iter_errors(value):
        yield from _words(error)


def _words(error: ValidationError) -> Iterator[str]:
    schema, value = error.schema, error.instance
    match error.validator:
        case "additionalProperties":
            yield from (f"{schema['owner']}.{name} is not described" for name in value.keys() - schema["properties"].keys())
        case "required":
            yield from (f"{schema['owner']}.{name} is missing" for name in schema["required"] if name not in value)
        case "type":
            yield f"{schema['title']} is {KINDS[type(value)]}"
        case _:
            yield f"{schema['title']} is {value!r}"
