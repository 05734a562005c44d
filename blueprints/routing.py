"""Routes, and everything that is declared about them.

A view declares its route in its decorator; the options are the arguments of `Route`:

    @blueprint.get("/images/<path:name>/history", query=HistoryQuery, answer=Answer(HistoryItem, many=True))

These options determine how the request's parameters are read (`load_query`), its answer is shaped (`dump`), its version is checked,
and the route is described (`GET /openapi.json`, docs/api-versions.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal, cast

from flask import request
from werkzeug.routing import PathConverter, Rule

from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.json_schema import JsonSchema
from stowage.blueprints.versioning import MAX_API_VERSION, MIN_API_VERSION, ApiVersion, api_version, minimum_api_version, stated_version
from stowage.services.errors import InvalidParameter, NotFound

JSON = "application/json"
TAR = "application/x-tar"
LINES = "text/plain"
ANY_BYTES = "application/octet-stream"
OWN_PREFIX = "/stowage/"
"""Where routes are that Docker does not have. They have no API version in front."""
PAGE_PREFIX = "/ui/"
"""Where the page is: HTML for people, which no other program reads."""
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Routes of our own that are where load balancers and Prometheus look for them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route answers on success: a value of a schema, a list of them (`many`), a stream of them (`stream`), or no body (None).

    `media_types` maps the media types that the body may have to what the description adds to each. `empty` is a second successful status,
    without a body. A route that can only fail has the status of its error. `words` describes the answer instead of the status's own
    phrase; `uses` lists schemas that the answer refers to by name, and `older` those of its parts
    in the older versions that they have as `versions`; the first sentence of their docstrings says what is different.
    """

    schema: type[ResponseSchema] | JsonSchema | None = None
    media_types: Mapping[str, JsonSchema] = field(default_factory=lambda: {JSON: {}})
    many: bool = False
    stream: bool = False
    status: HTTPStatus = HTTPStatus.OK
    empty: HTTPStatus | None = None
    words: str = ""
    uses: tuple[type[ResponseSchema], ...] = ()
    older: tuple[type[ResponseSchema], ...] = ()


Pace = Literal["probe", "quick", "listing", "slow"]


class Route(Rule):
    """A path that serves exactly the methods it names (Go adds no HEAD to GET; our own paths have it), from API version `since` on.

    `query` is the schema of its parameters, `body` the media type of what it reads from the request's body, `credentials` whether it takes
    the client's credentials for a registry. `pace` says how long an answer takes, by which the server chooses its thread
    (`app/server/seats.py`). A `probe` uses nothing of the store. A `quick` answer takes a moment, however large the store, and waits
    neither for its client (a body, a stream) nor for another machine (a registry). A `listing` is a quick one that takes longer the more
    images there are. All else is `slow`.
    """

    def __init__(
        self,
        string: str,
        *,
        methods: Iterable[str],
        endpoint: str,
        since: str = str(MIN_API_VERSION),
        query: type[QuerySchema] = QuerySchema,
        body: str = "",
        answer: Answer,
        credentials: bool = False,
        pace: Pace = "slow",
        defaults: Mapping[str, object] | None = None,
        subdomain: str | None = None,
    ) -> None:
        super().__init__(string, methods=methods, endpoint=endpoint, defaults=defaults, subdomain=subdomain)
        self.is_own = is_own(string) or string in PROBES
        self.methods = {method.upper() for method in methods}
        if self.is_own and "GET" in self.methods:
            self.methods.add("HEAD")
        self.since = ApiVersion.parse(since)
        self.query = query
        self.body = body
        self.answer = answer
        self.credentials = credentials
        self.pace = pace
        self.is_page = is_page(string)
        self.names_image = string.startswith(("/images/<path:name>", "/distribution/<path:name>"))

    @property
    def moby_path(self) -> str:
        """The path as moby's router writes it, with `{name:.*}` for a name that may contain slashes."""
        return re.sub(r"<(\w+)>", r"{\1}", re.sub(r"<path:(\w+)>", r"{\1:.*}", self.rule))

    @property
    def plain_path(self) -> str:
        """The path as documentation writes it, with `{name}` for any name."""
        return re.sub(r"<(?:path:)?(\w+)>", r"{\1}", self.rule)


class NameConverter(PathConverter):
    """`<path:name>` as gorilla/mux matches `{name:.*}`: anything, even nothing."""

    regex = ".*?"
    part_isolating = False


def is_page(path: str) -> bool:
    """Whether the page is at this path."""
    return path.startswith(PAGE_PREFIX) or path == PAGE_PREFIX.rstrip("/")


def is_own(path: str) -> bool:
    """Whether this path is one of our own, for the page or for scripts."""
    return path.startswith(OWN_PREFIX) or is_page(path)


def current_route() -> Route:
    """The route of the current request."""
    return cast(Route, request.url_rule)


def check_version() -> None:
    """Refuse a matched request whose version is out of range or below its route's own; raises InvalidParameter.

    Raises NotFound if the route has no versions.

    Source: moby daemon/server/middleware/version.go.
    """
    text, route = stated_version(), cast("Route | None", request.url_rule)
    if text is None or route is None:
        return
    if route.is_own:
        raise NotFound("page not found")
    version, minimum = api_version(), minimum_api_version()
    if version < minimum:
        raise InvalidParameter(
            f"client version {text} is too old. Minimum supported API version is {minimum}, please upgrade your client to a newer version"
        )
    if version > MAX_API_VERSION:
        raise InvalidParameter(f"client version {text} is too new. Maximum supported API version is {MAX_API_VERSION}")
    if version < route.since:
        raise InvalidParameter(f"{request.method} {route.moby_path} requires minimum API version {route.since}")
