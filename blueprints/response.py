"""Answers of views: JSON in the shape of a schema at the request's API version."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import cast
from weakref import WeakKeyDictionary

import orjson
from flask import Response

from stowage.blueprints.routing import JSON, current_route
from stowage.blueprints.schemas.base import ResponseSchema
from stowage.blueprints.versioning import ApiVersion, api_version


def dump(value: object, schema: type[ResponseSchema] | None = None) -> Response:
    """JSON of what the route declares as its answer, a value or a list of values; None is `null`. It ends with a newline, as from Go's
    encoder.

    `schema` replaces the declared one if the request's parameters determine it.
    """
    shape = (schema or _declared()).at(api_version())
    return dump_raw(None if value is None else shape.dump(value, many=current_route().answer.many))


def dump_kept(owner: object, value: object) -> Response:
    """The same answer as from `dump`, encoded once per API version and kept as long as `owner`, of which `value` is all or a part.

    The owner must be frozen, hash by identity and allow weak references:
    `@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)`.
    """
    encoded = _encoded(_declared(), api_version())
    if owner not in encoded:
        encoded[owner] = dump(value).get_data()
    return Response(encoded[owner], content_type=JSON)


def dump_raw(value: object) -> Response:
    """JSON of a value that already has the shape of the answer."""
    return Response(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE), content_type=JSON)


def dump_long_list(values: Iterable[object]) -> Response:
    """JSON of a list of the declared answer's items, which outlive the request.

    Each item is shaped and encoded once per API version, and the result is kept as long as the item itself. Items must therefore be frozen,
    hash by identity and allow weak references: `@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)`.
    """
    version, schema = api_version(), _declared()
    encoded, prepared = _encoded(schema, version), schema.at(version)
    parts: list[bytes] = []
    for value in values:
        part = encoded.get(value)
        if part is None:
            part = encoded[value] = orjson.dumps(prepared.dump(value))
        parts.append(part)
    return Response(b"[" + b",".join(parts) + b"]\n", content_type=JSON)


def _declared() -> type[ResponseSchema]:
    """The schema of the route's answer."""
    return cast("type[ResponseSchema]", current_route().answer.schema)


@cache
def _encoded(_schema: type[ResponseSchema], _version: ApiVersion) -> WeakKeyDictionary[object, bytes]:
    """Encoded items of one schema at one version."""
    return WeakKeyDictionary()
