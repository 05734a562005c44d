"""Answers of views: JSON in the shape of a schema at the request's API version."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
from itertools import chain, repeat
from typing import cast
from weakref import WeakKeyDictionary

import orjson
from flask import Response

from stowage.blueprints.request import engine
from stowage.blueprints.routing import JSON, current_route
from stowage.blueprints.schemas.base import ResponseSchema
from stowage.blueprints.streaming import stream_bytes
from stowage.blueprints.versioning import ApiVersion, api_version
from stowage.services.kept import Kept

_WHOLE = 1 << 20
"""How many bytes a list with a Content-Length has at most."""
_ENTRY_BYTES = 1 << 10
"""Memory for an answer that is kept, besides its JSON."""

_kept: Kept[Hashable, tuple[object, bytes]] = Kept(32 << 20)
"""Answers, each with the version of the database at which it was made."""


def dump(value: object, schema: type[ResponseSchema] | None = None) -> Response:
    """JSON of what the route declares as its answer, a value or a list of values; None is `null`. It ends with a newline, as from Go's
    encoder.

    `schema` replaces the declared one if the request's parameters determine it.
    """
    shape = (schema or _declared()).at(api_version())
    return dump_raw(None if value is None else shape.dump(value, many=current_route().answer.many))


def dump_kept(read: Callable[[], object], *question: Hashable) -> Response:
    """The answer of `dump` to what `read` returns, kept until anything is committed to the database.

    The route and the `question` are all that the answer depends on besides the store and the version of the API.
    """
    version = engine().metadata.version()  # first: whatever is read now is at least as new
    key = (current_route().rule, api_version(), engine().platform, *question)
    known, answer = _kept.get(key) or (None, b"")
    if version is None or known != version:
        answer = dump(read()).get_data()
        _kept.put(key, (version, answer), len(answer) + _ENTRY_BYTES)
    return Response(answer, content_type=JSON)


def dump_raw(value: object) -> Response:
    """JSON of a value that already has the shape of the answer."""
    return Response(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE), content_type=JSON)


def dump_long_list(values: Iterator[object], *, kept: bool) -> Response:
    """JSON of a list of the declared answer's items, as `dump_items`."""
    return dump_items([b"[", b"]\n"], lambda: values, _declared().at(api_version()), kept=kept)


def dump_items(texts: Sequence[bytes], read: Callable[[], Iterator[object]], schema: ResponseSchema, *, kept: bool) -> Response:
    """JSON with the shaped values, separated by commas, between each two texts; `read` begins to read the values.

    Many are streamed as they come, and an error between them cuts the connection. If the values outlive the request (`kept`), and hash by
    identity, their JSON is kept as long.
    """
    parts = _interleave(texts, lambda: _separate(map(_encode_kept if kept else _encode, read(), repeat(schema))))
    first = bytearray()
    for part in parts:
        if len(first) + len(part) > _WHOLE:
            return stream_bytes(chain((bytes(first), part), parts), JSON)
        first += part
    return Response(bytes(first), content_type=JSON)


def _declared() -> type[ResponseSchema]:
    """The schema of the route's answer."""
    return cast("type[ResponseSchema]", current_route().answer.schema)


def _interleave(texts: Sequence[bytes], read: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    yield texts[0]
    for text in texts[1:]:
        yield from read()
        yield text


def _separate(parts: Iterator[bytes]) -> Iterator[bytes]:
    yield next(parts, b"")
    for part in parts:
        yield b"," + part


def _encode(value: object, schema: ResponseSchema) -> bytes:
    return orjson.dumps(schema.dump(value))


@cache
def _encoded(_schema: type[ResponseSchema], _version: ApiVersion) -> WeakKeyDictionary[object, bytes]:
    """Encoded answers of one schema at one version."""
    return WeakKeyDictionary()


def _encode_kept(value: object, schema: ResponseSchema) -> bytes:
    encoded = _encoded(type(schema), schema.client_version)
    part = encoded.get(value)
    if part is None:
        part = encoded[value] = _encode(value, schema)
    return part
