"""GET /events: past and current events, as a stream of JSON documents.

An answer in `application/json` is one document per line, as in `application/jsonl`; in `application/json-seq` (RFC 7464) a record separator
comes before each. Source: moby daemon/server/router/system/system_routes.go (getEvents), daemon/server/httputils/json-seq.go and
contenttype; api/types/events/events.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import orjson
from flask import Blueprint, Response, request
from marshmallow import fields

from stowage.blueprints.request import engine, load_query
from stowage.blueprints.routing import JSON, Answer
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema, applies, until
from stowage.blueprints.schemas.fields import FiltersField
from stowage.blueprints.schemas.json_schema import INTEGER, JsonSchema
from stowage.blueprints.streaming import stream_live
from stowage.blueprints.versioning import api_version
from stowage.services.errors import InvalidParameter
from stowage.services.metadata.records import Event
from stowage.services.oci.gojson import quote
from stowage.services.system.events import SCOPE, watch_events
from stowage.services.timestamps import parse_timestamp

blueprint = Blueprint("system_events", __name__)

_JSON_LINES, _SEQUENCE = "application/jsonl", "application/json-seq"
STREAM_TYPES = (_JSON_LINES, "application/x-ndjson", _SEQUENCE)
"""Among equals, earlier ones are preferred."""

_ACCEPTED = re.compile(
    r"[ \t]*(?P<type>[!#$%&'*+.^_`|~/\w-]++)[ \t]*+(?:;[ \t]*q=(?P<quality>[01](?:\.\d*)?)[ \t]*+)?(?!;)(?P<more>,?)", re.ASCII
)
_SECOND = 1_000_000_000


class TimestampField(fields.Field[int | None]):
    """Unix seconds with a fraction, as nanoseconds; empty text means none."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int | None:
        try:
            return parse_timestamp(value) if value else None
        except InvalidParameter as exc:
            raise InvalidParameter(f"invalid value for '{attr}': invalid timestamp {quote(value)}: {exc}") from exc


class UntilField(TimestampField):
    """The end of a time span, which must not be before its `since`."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int | None:
        end, since = super()._deserialize(value, attr, data), (data or {}).get("since")
        if end is not None and since and end < parse_timestamp(since):
            raise InvalidParameter(f"`since` time ({since}) cannot be after `until` time ({value})")
        return end


class EventsQuery(QuerySchema):
    since = TimestampField()
    until = UntilField()
    filters = FiltersField()


class UnixSeconds(fields.Field[int]):
    """Nanoseconds since 1970 in whole seconds."""

    json_schema: ClassVar[JsonSchema] = INTEGER

    def _serialize(self, value: Any, attr: str | None, obj: Any, **_: Any) -> int:
        return int(value // _SECOND)


class ActorItem(ResponseSchema):
    id = fields.String(data_key="ID")
    attributes = fields.Dict(keys=fields.String(), values=fields.String(), data_key="Attributes")


class EventItem(ResponseSchema):
    """An event; `status` and `id` repeat the action and the actor's ID, since old clients read only these."""

    type = fields.String(data_key="Type")
    action = fields.String(data_key="Action")
    actor = fields.Nested(ActorItem, data_key="Actor")
    scope = fields.Constant(SCOPE)
    seconds = UnixSeconds(attribute="time", data_key="time", dump_only=True)
    time = fields.Integer(data_key="timeNano")
    status = fields.String(attribute="action", dump_only=True, metadata=until("1.52"))
    id = fields.String(attribute="actor.id", dump_only=True, metadata=until("1.52"))

    @property
    def media_type(self) -> str:
        """The type of a stream for a client that requests none: `application/json` before 1.52, although it is several documents."""
        return JSON if applies(until("1.52"), self.client_version) else _JSON_LINES


_ANSWER = Answer(EventItem, {**{kind: {} for kind in STREAM_TYPES}, JSON: {"x-until": "1.52"}}, stream=True)


@blueprint.get("/events", query=EventsQuery, answer=_ANSWER)
def system_events() -> Response:
    """GET /events."""
    query = load_query()
    events = watch_events(engine(), since=query["since"], until=query["until"], filters=query["filters"])
    schema = EventItem.at(api_version())
    content_type = _negotiate(request.headers.get("Accept", "")) or schema.media_type
    return stream_live(_encode(events, schema, content_type), content_type)


def _encode(events: Iterator[Event | None], schema: EventItem, content_type: str) -> Iterator[bytes]:
    before = b"\x1e" if content_type == _SEQUENCE else b""
    for event in events:
        yield b"" if event is None else before + orjson.dumps(schema.dump(event), option=orjson.OPT_APPEND_NEWLINE)


def _negotiate(accept: str) -> str | None:
    """The accepted stream type with the highest quality; wildcards are ignored (moby MatchAcceptStrict)."""
    best, best_quality = None, 0.0
    qualities = list(_read_accept(accept))
    for offer in STREAM_TYPES:
        quality = max((quality for kind, quality in qualities if kind == offer), default=0.0)
        if quality > best_quality:
            best, best_quality = offer, quality
    return best


def _read_accept(accept: str) -> Iterator[tuple[str, float]]:
    """Types and qualities of an Accept header, up to the first that has another parameter."""
    position = 0
    while match := _ACCEPTED.match(accept, position):
        yield match["type"], float(match["quality"] or 1)
        if not match["more"]:
            return
        position = match.end()
