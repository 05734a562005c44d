"""What a registry asks for before it answers, and what it says about a token that it does not accept.

    WWW-Authenticate: Bearer realm="https://auth.example/token",service="registry.example",scope="repository:team/app:pull"
    WWW-Authenticate: Bearer realm="https://auth.example/token",error="insufficient_scope"
    WWW-Authenticate: Basic realm="registry.example"

Source: RFC 9110 section 11.6.1, RFC 6750 section 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from urllib3.response import BaseHTTPResponse

_SCHEME = re.compile(r"\s*(?:,\s*)?([A-Za-z]+)(?:\s+|$)(?!=)")
_PARAMETER = re.compile(r'\s*(?:,\s*)?([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a registry offers; scheme in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: list[str]) -> list[Challenge]:
    """Read WWW-Authenticate headers. Reading a header stops at anything outside the grammar."""
    found: list[Challenge] = []
    for header in headers:
        position = 0
        while scheme := _SCHEME.match(header, position):
            position = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, position):
                name, quoted, bare = parameter.groups()
                parameters[name.lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                position = parameter.end()
            found.append(Challenge(scheme[1].lower(), parameters))
    return found


def find_answerable(response: BaseHTTPResponse, base: str) -> Challenge | None:
    """The challenge to answer, if any: a 401 from the origin of `base`, not from a redirect's target; bearer is preferred to basic."""
    if response.status != 401 or origin(response.url or "") != origin(base):
        return None
    known = [challenge for challenge in challenges(response) if challenge.scheme in ("bearer", "basic")]
    return max(known, key=lambda challenge: challenge.scheme, default=None)


def stated_error(challenges: Iterable[Challenge]) -> str:
    """What these say is wrong with the token that was sent, e.g. insufficient_scope; empty if they say nothing."""
    return next((challenge.parameters["error"] for challenge in challenges if "error" in challenge.parameters), "")


def challenges(response: BaseHTTPResponse) -> list[Challenge]:
    """The challenges in an answer, in order."""
    return parse_challenges(response.headers.getlist("WWW-Authenticate"))


def origin(url: str) -> tuple[str, str]:
    """The scheme and the `host[:port]` of a URL."""
    return urlsplit(url)[:2]
