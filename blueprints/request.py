"""The parts of a request for a view: the engine, the parameters, the body, the credentials.

Parameters are read as in Go's `http.Request.ParseForm`: first the urlencoded body of POST, PUT and PATCH, then the query.
Source: net/http request.go and net/url of Go; moby daemon/server/httputils/httputils.go.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote_plus

from flask import Response, after_this_request, current_app, request
from marshmallow import fields

from stowage.blueprints.client import Client, leaves_share, watched_client
from stowage.blueprints.log_entry import LogEntry, log_entry, log_parameters
from stowage.blueprints.routing import current_route
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.versioning import api_version
from stowage.services.archive.bounds import Costs
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, InvalidParameter
from stowage.services.meter import Tally
from stowage.services.oci.gojson import escape_problem
from stowage.services.registry.credentials import Credentials, decode_auth, parse_auth, read_auth

if TYPE_CHECKING:
    from typing_extensions import Buffer

ENGINE = "stowage.engine"
"""Key of the application's extensions: a callable that returns the process's Engine."""

CLIENT_IDLE = "stowage.client_idle"
"""Key of the application's extensions: seconds that the service waits for a client that neither sends nor accepts anything."""

_MAX_FORM = 10 << 20
_MAX_AUTH = 64 << 10
_MAX_PARAMETERS = 10_000
"""The limit for one query or form, as in Go since 1.26 (CVE-2025-61726): millions of tiny parameters would take hundreds of MiB."""


def engine() -> Engine:
    """The engine of this process, with the memory that this request may use."""
    own = cast("Callable[[], Engine]", current_app.extensions[ENGINE])()
    return replace(own, memory=own.memory.unreserved) if leaves_share() else own


def answer_costs() -> Costs:
    """Counts what making this request's answer takes in memory, and then the answer itself until it, or the error in its place, is sent."""
    costs = Costs(engine().memory)

    @after_this_request
    def hand_over(response: Response) -> Response:
        costs.shrink(response.content_length or 0)
        response.call_on_close(costs.close)
        return response

    return costs


def operation_engine(registry: str = "") -> Engine:
    """The engine for an operation, with this registry if it uses one; it counts what the operation moves."""
    entry = log_entry()
    entry.registry, entry.tally = registry, Tally()
    return replace(engine(), tally=entry.tally)


def limit_idleness() -> None:
    """Limit how long this request waits for its client to send or accept data; the next request begins without this limit."""
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(current_app.extensions[CLIENT_IDLE])


def load_query() -> dict[str, Any]:
    """The parameters that the route declares, from the query and a form body, by attribute name, at the request's API version. Raises
    InvalidParameter.
    """
    form, schema = _read_form(), current_route().query
    prepared = schema.at(api_version())
    if not form:
        return dict(_load_nothing(prepared))
    given: dict[str, Any] = {}
    for name, field in prepared.load_fields.items():
        key = field.data_key or name
        if key in form:
            given[key] = form[key] if isinstance(field, fields.List) else form[key][0]
    log_parameters(given)
    return schema.defaults() | cast("dict[str, Any]", prepared.load(given))


@cache
def _load_nothing(schema: QuerySchema) -> dict[str, Any]:
    """The parameters of a request that has none; there is one instance of a schema for each version."""
    return schema.defaults() | cast("dict[str, Any]", schema.load({}))


def body_stream() -> BinaryIO:
    """The request's body, to be read in large pieces (1 MiB). A body that ends too early, or stalls, raises InvalidContent."""
    idle = current_app.extensions[CLIENT_IDLE]
    return cast("BinaryIO", _Body(request.environ["wsgi.input"], request.content_length, idle, watched_client(), log_entry()))


class _Body(io.RawIOBase):
    """A body that must be as long as its Content-Length, or end with its last chunk.

    The server's input ends silently if the client disconnects, and raises the server's own errors for broken chunks.
    """

    def __init__(self, source: BinaryIO, length: int | None, idle: int, client: Client | None, entry: LogEntry) -> None:
        self._source, self._missing, self._idle, self._client, self._entry = source, length, idle, client, entry

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        self._entry.check()
        chunk = self._receive(size)
        self._entry.received += len(chunk)
        return chunk

    def _receive(self, size: int | None) -> bytes:
        """Some of the body. If the operation has been ended, that is why it is not whole."""
        try:
            return self._read_whole(size)
        except InvalidContent:
            self._entry.check()
            raise

    def _read_whole(self, size: int | None) -> bytes:
        try:
            chunk = self._source.read(-1 if size is None else size)
        except TimeoutError as exc:
            raise InvalidContent(f"the client sent nothing of the request's body for {self._idle} seconds") from exc
        except InvalidContent:  # a limit of this service's own server
            raise
        except Exception as exc:  # WSGI defines no class for it
            raise self._broken() from exc
        if self._missing is not None:
            self._missing -= len(chunk)
            if self._missing > 0 and size != 0 and (not chunk or size is None or size < 0):
                raise self._broken()
        return chunk

    def _broken(self) -> InvalidContent:
        """What to raise for a body that is not whole. The client may still be there, if its chunks are malformed."""
        error = InvalidContent("unexpected EOF")
        if self._client is None or self._client.has_closed_its_side():
            self._entry.lose_body(error)
        return error

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        chunk = self.read(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)


def registry_auth() -> Credentials | None:
    """The credentials of X-Registry-Auth; None if they are missing, empty or unreadable, as in moby."""
    return decode_auth(request.headers.get("X-Registry-Auth", ""))


def push_auth() -> Credentials | None:
    """The credentials of X-Registry-Auth, or those in the JSON body of a client that sends no such header."""
    if "X-Registry-Auth" in request.headers:
        return registry_auth()
    return read_auth(body_stream().read(_MAX_AUTH))


def login_auth() -> Credentials:
    """The credentials in the JSON body of a login; raises InvalidParameter."""
    return parse_auth(body_stream().read(_MAX_AUTH))


def meta_headers() -> dict[str, str]:
    """The X-Meta-* headers, which are passed on to the registry."""
    return {name: value for name, value in request.headers.items() if name.startswith("X-Meta-")}


def _read_form() -> dict[str, list[str]]:
    """Every parameter with its values, in Go's order. Of the routes that Docker does not have, only the page's take a form: curl calls any
    body one.
    """
    form: dict[str, list[str]] = {}
    environ = request.environ
    is_form = environ["REQUEST_METHOD"] in ("POST", "PUT", "PATCH") and request.mimetype == "application/x-www-form-urlencoded"
    if is_form and (current_route().is_page or not current_route().is_own):
        body = body_stream().read(_MAX_FORM + 1)
        if len(body) > _MAX_FORM:
            raise InvalidParameter("http: POST too large")
        _parse_urlencoded(body.decode("utf-8", "replace"), form)
    _parse_urlencoded(environ["QUERY_STRING"].encode("latin-1").decode("utf-8", "replace"), form)
    return form


def _parse_urlencoded(text: str, form: dict[str, list[str]]) -> None:
    """Add the pairs of a query to the form; raises InvalidParameter with the messages of Go's url.ParseQuery."""
    if text.count("&") >= _MAX_PARAMETERS:
        raise InvalidParameter("number of URL query parameters exceeded limit")
    if ";" in text:
        raise InvalidParameter("invalid semicolon separator in query")
    for pair in filter(None, text.split("&")):
        key, _, value = pair.partition("=")
        form.setdefault(_unescape(key), []).append(_unescape(value))


def _unescape(text: str) -> str:
    if problem := escape_problem(text):
        raise InvalidParameter(problem)
    return unquote_plus(text)
