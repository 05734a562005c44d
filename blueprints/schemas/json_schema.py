"""JSON schemas of values that a field's class does not describe: the result of a function, or a value that is written as it is.

Source: JSON Schema 2020-12, which OpenAPI 3.1 uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonSchema = dict[str, Any]

BOOLEAN: JsonSchema = {"type": "boolean"}
INTEGER: JsonSchema = {"type": "integer"}
TEXT: JsonSchema = {"type": "string"}
_TYPES = {bool: "boolean", dict: "object", int: "integer", list: "array", str: "string", type(None): "null"}


def array(items: JsonSchema) -> JsonSchema:
    """A list of these."""
    return {"type": "array", "items": items}


def mapping(values: JsonSchema) -> JsonSchema:
    """An object with any keys."""
    return {"type": "object", "additionalProperties": values}


def record(required: Mapping[str, JsonSchema], optional: Mapping[str, JsonSchema] | None = None) -> JsonSchema:
    """An object that has the required keys, and may have the optional and any others."""
    return {"type": "object", "properties": dict(required) | dict(optional or {}), "required": list(required)}


def nullable(schema: JsonSchema) -> JsonSchema:
    """This schema, or null."""
    return schema | {"type": [schema["type"], "null"]}


def constant(value: object) -> JsonSchema:
    """Always this value."""
    return {"type": _TYPES[type(value)], "const": value}


def component(name: str) -> JsonSchema:
    """A reference to a schema of the description, by its class's name."""
    return {"$ref": f"#/components/schemas/{name}"}


def written_as(schema: JsonSchema) -> dict[str, object]:
    """Metadata of a response field that writes values of this schema."""
    return {"json_schema": schema}


ERROR = record({"message": TEXT})
"""The body of an error."""
