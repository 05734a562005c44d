"""What a view answers with: JSON in the shape of a schema at the request's API version."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from weakref import WeakKeyDictionary

import orjson
from flask import Response

from blueprints.schemas.base import ResponseSchema
from blueprints.versioning import ApiVersion, api_version

_JSON = "application/json"


def dump(schema: ResponseSchema | type[ResponseSchema], value: object) -> Response:
    """JSON of a value, or of a list of values when the schema is `many`; None is `null`. Ends with a newline, as Go's encoder does."""
    kind, many = (schema, False) if isinstance(schema, type) else (type(schema), bool(schema.many))
    return dump_raw(None if value is None else kind.at(api_version()).dump(value, many=many))


def dump_raw(value: object) -> Response:
    """JSON of something that is already in the shape of the wire."""
    return Response(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE), content_type=_JSON)


def dump_many(schema: type[ResponseSchema], values: Iterable[object]) -> Response:
    """JSON of a long list whose items outlive the request.

    Each item is shaped and encoded once per API version, and kept as long as the item itself. So items must be frozen, hash by identity
    and allow weak references: `@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)`.
    """
    version = api_version()
    encoded, prepared = _encoded(schema, version), schema.at(version)
    parts: list[bytes] = []
    for value in values:
        part = encoded.get(value)
        if part is None:
            part = encoded[value] = orjson.dumps(prepared.dump(value))
        parts.append(part)
    return Response(b"[" + b",".join(parts) + b"]\n", content_type=_JSON)


@cache
def _encoded(_schema: type[ResponseSchema], _version: ApiVersion) -> WeakKeyDictionary[object, bytes]:
    """Encoded items of one schema at one version."""
    return WeakKeyDictionary()
