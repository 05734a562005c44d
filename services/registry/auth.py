"""Answering a registry's challenge: bearer tokens from its token server, and basic authentication.

    WWW-Authenticate: Bearer realm="https://auth.example/token",service="registry.example",scope="repository:team/app:pull"
    WWW-Authenticate: Basic realm="registry.example"

The secret is sent to the token server that the challenge names, over verified TLS unless that server is an insecure registry too.

Source: RFC 9110 section 11.6.1; distribution docs/content/spec/auth/token.md; containerd core/remotes/docker/authorizer.go and auth/fetch.go.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from urllib3.response import BaseHTTPResponse

from services.errors import RegistryFailure
from services.registry.errors import MAX_ERROR_BODY, in_words, unexpected_status
from services.registry.protocol import Credentials
from services.registry.transport import Transport, read_bounded

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z]+)(?:\s+|$)(?!=)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_MAX_TOKEN_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a registry offers; scheme in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: list[str]) -> list[Challenge]:
    """Read WWW-Authenticate headers; what is outside the grammar ends the header it stands in."""
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


def find_answerable(response: BaseHTTPResponse) -> Challenge | None:
    """The first challenge of a 401 that is of a known kind."""
    return next((challenge for challenge in _challenges(response) if challenge.scheme in ("bearer", "basic")), None)


def is_denied(response: BaseHTTPResponse) -> bool:
    """Whether a 401 says that the token it was sent does not open the repository."""
    return any("error" in challenge.parameters for challenge in _challenges(response))


class Authorizer:
    """The authorization of one operation at one endpoint. Credentials are None where they are meant for another host."""

    def __init__(self, transport: Transport, repository: str, credentials: Credentials | None) -> None:
        self._transport = transport
        self._scope = f"repository:{repository}:pull"
        self._credentials = credentials or Credentials()
        self._authorization = f"Bearer {self._credentials.registry_token}" if self._credentials.registry_token else ""

    @property
    def headers(self) -> dict[str, str]:
        """The header that the next request carries, if any."""
        return {"Authorization": self._authorization} if self._authorization else {}

    def answer(self, challenge: Challenge) -> None:
        """Prepare the answer to a challenge that `find_answerable` gave, for the next `headers`; raises RegistryFailure."""
        self._authorization = f"Bearer {self._fetch_token(challenge)}" if challenge.scheme == "bearer" else self._basic()

    def _basic(self) -> str:
        username, password = self._credentials.username, self._credentials.password
        if not username or not password:
            raise RegistryFailure(
                "pull access denied, repository does not exist or may require authorization: "
                "authorization failed: no basic auth credentials"
            )
        return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    def _fetch_token(self, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm")
        if not realm:
            raise RegistryFailure("no realm specified for token auth challenge")
        insecure = self._transport.allows_insecure(urlsplit(realm).netloc)
        if urlsplit(realm).scheme not in (("http", "https") if insecure else ("https",)):
            raise RegistryFailure(f"failed to authorize: the token server at {urlsplit(realm).netloc} is not https")
        named = bool(self._credentials.username and self._credentials.password)
        headers = {"Authorization": self._basic()} if named else {}
        url = realm + ("&" if "?" in realm else "?") + urlencode(self._query(challenge))
        response = self._transport.request("GET", url, headers, insecure=insecure)
        body = read_bounded(response, _MAX_TOKEN_BODY)
        if not 200 <= response.status < 300:
            failed = "failed to authorize: failed to fetch " + ("oauth token" if named else "anonymous token")
            raise in_words(unexpected_status("GET", url, response.status, body[:MAX_ERROR_BODY]), failed)
        return _read_token(body)

    def _query(self, challenge: Challenge) -> list[tuple[str, str]]:
        service = challenge.parameters.get("service", "")
        scopes = {self._scope, *challenge.parameters.get("scope", "").split()}
        return [("service", service)] * bool(service) + [("scope", scope) for scope in sorted(scopes)]


def _challenges(response: BaseHTTPResponse) -> list[Challenge]:
    return parse_challenges(response.headers.getlist("WWW-Authenticate"))


def _read_token(body: bytes) -> str:
    """The token in a token server's answer: `access_token`, or the older `token`."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise RegistryFailure("failed to authorize: unable to decode token response") from exc
    token = (answer.get("access_token") or answer.get("token")) if isinstance(answer, dict) else None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise RegistryFailure("failed to authorize: authorization server did not include a token in the response")
    return token
