"""API versions: their value, the range served, and the path prefix `/v<version>`.

A client may ask for any version in the range; a request without a prefix gets the newest. The prefix is removed before routing
(`VersionPrefix`). The range is checked once a route has matched (blueprints/routing.py), so an unknown path is 404 whatever its version.

Source: moby daemon/server/server.go, daemon/server/middleware/version.go, daemon/server/router/local.go, daemon/internal/versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, cast

from flask import current_app, request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PREFIX = re.compile(r"/v([0-9.]+)(/.*)", re.DOTALL)
_STATED, _VERSION = "stowage.stated_version", "stowage.api_version"
"""Keys of the WSGI environment: the version as it is in the path, and as it is read."""

MINIMUM = "stowage.minimum_api_version"
"""Key of the application's extensions: the lowest ApiVersion served."""


class ApiVersion(NamedTuple):
    """A version of the Engine API, e.g. 1.45."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> ApiVersion:
        """Read `1.45` as leniently as moby compares versions: a missing or empty number is 0, anything after the minor one is ignored."""
        major, _, rest = text.partition(".")
        return cls(_number(major), _number(rest.partition(".")[0]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:18] or 0)


MIN_API_VERSION = ApiVersion(1, 24)
MAX_API_VERSION = ApiVersion(1, 56)


def split_version(path: str) -> tuple[str | None, str]:
    """The version in front of a path, or None, and the path without it."""
    match = _PREFIX.fullmatch(path)
    return (match[1], match[2]) if match else (None, path)


class VersionPrefix:
    """WSGI middleware that removes `/v1.45` from the path and remembers it."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        version, environ["PATH_INFO"] = split_version(environ["PATH_INFO"])
        if version is not None:
            environ[_STATED], environ[_VERSION] = version, ApiVersion.parse(version)
        return self._application(environ, start_response)


def stated_version() -> str | None:
    """The version in the path of the current request, or None if it has no prefix."""
    return cast("str | None", request.environ.get(_STATED))


def api_version() -> ApiVersion:
    """The version of the current request."""
    return cast(ApiVersion, request.environ.get(_VERSION, MAX_API_VERSION))


def minimum_api_version() -> ApiVersion:
    """The lowest version that this service is configured to serve."""
    return cast(ApiVersion, current_app.extensions[MINIMUM])


def below_json_errors() -> bool:
    """Whether the client asks for a version before 1.24, which gets errors in plain text."""
    return api_version() < MIN_API_VERSION
