"""Answering a registry's challenge: bearer tokens from its token server, and basic authentication.

    WWW-Authenticate: Bearer realm="https://auth.example/token",service="registry.example",scope="repository:team/app:pull"
    WWW-Authenticate: Basic realm="registry.example"

A token server is asked with GET, with a name and password or nothing, or where the client has an identity token with OAuth's POST. Which
one may be named: services/registry/realms.py. A token is renewed when its time is over, or when the registry no longer takes it.

Source: RFC 9110 section 11.6.1; distribution docs/content/spec/auth/token.md and oauth.md; containerd core/remotes/docker/authorizer.go and
auth/fetch.go; distribution registry/client/auth/session.go.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode, urlsplit

from urllib3.response import BaseHTTPResponse

from services.errors import EngineError, InvalidContent, RegistryFailure
from services.oci import gojson
from services.registry.errors import MAX_ERROR_BODY, in_words, push_denied, unexpected_status
from services.registry.hosts import Endpoint
from services.registry.protocol import Credentials
from services.registry.realms import Realms
from services.registry.transport import USER_AGENT, Transport, read_bounded

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z]+)(?:\s+|$)(?!=)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_MAX_TOKEN_BODY = 1 << 20
_CLIENT_ID = "docker"
_LEAST_LIFETIME = 60
"""Seconds that a token is used for at least, whatever its server says, as in distribution's client."""
_MOST_LIFETIME = 365 * 86_400


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


def find_answerable(response: BaseHTTPResponse, endpoint: Endpoint) -> Challenge | None:
    """The challenge to answer, if any: a 401 of the endpoint's own, not of whom it redirects to; a bearer's before a basic one."""
    if response.status != 401 or origin(response.url or "") != origin(endpoint.base):
        return None
    known = [challenge for challenge in _challenges(response) if challenge.scheme in ("bearer", "basic")]
    return max(known, key=lambda challenge: challenge.scheme, default=None)


def origin(url: str) -> tuple[str, str]:
    """The scheme and the `host[:port]` of a URL."""
    return urlsplit(url)[:2]


def stated_error(response: BaseHTTPResponse) -> str:
    """What a 401 says is wrong with the token that it was sent, e.g. insufficient_scope; empty where it says nothing."""
    return next((challenge.parameters["error"] for challenge in _challenges(response) if "error" in challenge.parameters), "")


@dataclass(frozen=True, slots=True)
class _Token:
    """A bearer token, when its time is over (monotonic seconds), and the refresh token that came along, if any."""

    text: str
    expires: float
    refresh: str


class Authorizer:
    """The authorization of one operation at one endpoint, from any thread. `scope` is empty for a login.

    Credentials are None where they are meant for another host; they are not used where the endpoint may not have secrets.
    """

    def __init__(
        self, transport: Transport, realms: Realms, endpoint: Endpoint, credentials: Credentials | None, *, scope: str, pushes: bool = False
    ) -> None:
        self._transport = transport
        self._realms = realms
        self._endpoint = endpoint
        self._credentials = (endpoint.may_have_secrets and credentials) or Credentials()
        self._scope = scope
        self._pushes = pushes
        self._lock = threading.RLock()
        self._challenge: Challenge | None = None
        self._token: _Token | None = None
        given = self._credentials.registry_token
        self._headers = {"Authorization": f"Bearer {given}"} if given else {}

    def headers(self) -> Mapping[str, str]:
        """The header that the next request carries, if any; a token whose time is over is renewed first. Raises as `answer` does."""
        with self._lock:
            if self._challenge and self._token and time.monotonic() >= self._token.expires:
                self._authorize(self._challenge)
            return self._headers

    def can_answer(self, challenge: Challenge, sent: Mapping[str, str]) -> bool:
        """Whether there is anything to send but the headers `sent`, which met this challenge: a wrong password stays wrong."""
        return self._headers != sent or not (self._credentials.registry_token or (sent and challenge.scheme == "basic"))

    def answer(self, challenge: Challenge, sent: Mapping[str, str]) -> None:
        """Prepare the answer to a challenge that met the headers `sent`, for the next `headers`.

        Raises RegistryFailure, also where the credentials that the challenge needs are missing, and what the token server says.
        """
        with self._lock:
            if self._headers == sent:  # else another thread has answered meanwhile
                self._authorize(challenge)

    @property
    def identity_token(self) -> str:
        """The refresh token that the token server gave, if any."""
        return self._token.refresh if self._token else ""

    def secrets(self) -> list[str]:
        """Whatever must not be told."""
        given = self._credentials
        basic = [self._basic_value()] if given.username and given.password else []
        tokens = [self._token.text, self._token.refresh] if self._token else []
        return [given.password, given.identity_token, given.registry_token, *basic, *tokens]

    def _authorize(self, challenge: Challenge) -> None:
        if challenge.scheme == "basic":
            self._headers = {"Authorization": self._basic()}
            return
        self._challenge = challenge
        self._token = self._fetch_token(challenge)
        self._headers = {"Authorization": f"Bearer {self._token.text}"}

    def _basic(self) -> str:
        if not self._credentials.username or not self._credentials.password:
            raise self._missing()
        return f"Basic {self._basic_value()}"

    def _basic_value(self) -> str:
        return base64.b64encode(f"{self._credentials.username}:{self._credentials.password}".encode()).decode()

    def _fetch_token(self, challenge: Challenge) -> _Token:
        realm = challenge.parameters.get("realm")
        if not realm:
            raise RegistryFailure("no realm specified for token auth challenge")
        insecure = self._realms.check(realm, self._endpoint)
        send = self._refresh if self._credentials.identity_token else self._ask
        try:
            response = send(realm, challenge, insecure)
            body = read_bounded(response, _MAX_TOKEN_BODY)
        except RegistryFailure as exc:
            raise in_words(exc, self._failed) from None  # what went wrong on the way there says nothing about the way to the registry
        if not 200 <= response.status < 300:
            raise self._refused(realm, response, body[:MAX_ERROR_BODY])
        return _read_token(body)

    def _ask(self, realm: str, challenge: Challenge, insecure: bool) -> BaseHTTPResponse:
        named = bool(self._credentials.username and self._credentials.password)
        headers = {"User-Agent": USER_AGENT} | ({"Authorization": self._basic()} if named else {})
        url = realm + ("&" if "?" in realm else "?") + urlencode(self._query(challenge))
        return self._transport.request("GET", url, headers, insecure=insecure, within=frozenset({urlsplit(realm).netloc}))

    def _refresh(self, realm: str, challenge: Challenge, insecure: bool) -> BaseHTTPResponse:
        """Use an identity token; a redirect is not followed, as the secret is in the body."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._credentials.identity_token,
            "service": challenge.parameters.get("service", ""),
            "client_id": _CLIENT_ID,
        }
        scopes = self._scopes(challenge)
        body = urlencode(form | ({"scope": " ".join(scopes)} if scopes else {})).encode()
        headers = {"User-Agent": USER_AGENT, "Content-Type": "application/x-www-form-urlencoded"}
        return self._transport.send("POST", realm, headers, body, insecure=insecure)

    def _query(self, challenge: Challenge) -> list[tuple[str, str]]:
        service = challenge.parameters.get("service", "")
        return [("service", service)] * bool(service) + [("scope", scope) for scope in self._scopes(challenge)]

    def _scopes(self, challenge: Challenge) -> list[str]:
        return sorted({*filter(None, [self._scope]), *challenge.parameters.get("scope", "").split()})

    def _missing(self) -> EngineError:
        """The error for a registry that wants a name and password, of a client that has none for it."""
        reason = "authorization failed: no basic auth credentials"
        if self._pushes:
            return push_denied(reason)
        return RegistryFailure(f"pull access denied, repository does not exist or may require authorization: {reason}")

    def _refused(self, realm: str, response: BaseHTTPResponse, body: bytes) -> EngineError:
        """The error for a token server that gives no token."""
        method = "POST" if self._credentials.identity_token else "GET"
        error = unexpected_status(method, realm, response.status, body, retry_after=response.headers.get("Retry-After", ""))
        return in_words(error, self._failed)

    @property
    def _failed(self) -> str:
        has_secret = bool(self._credentials.identity_token or (self._credentials.username and self._credentials.password))
        return "failed to authorize: failed to fetch " + ("oauth token" if has_secret else "anonymous token")


def _challenges(response: BaseHTTPResponse) -> list[Challenge]:
    return parse_challenges(response.headers.getlist("WWW-Authenticate"))


def _read_token(body: bytes) -> _Token:
    """The token in a token server's answer: `access_token`, or the older `token`."""
    try:
        answer = gojson.decode(body)
    except InvalidContent as exc:
        raise RegistryFailure("failed to authorize: unable to decode token response") from exc
    fields = answer if isinstance(answer, dict) else {}
    token = fields.get("access_token") or fields.get("token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise RegistryFailure("failed to authorize: authorization server did not include a token in the response")
    refresh = fields.get("refresh_token")
    return _Token(token, time.monotonic() + _lifetime(fields), refresh if isinstance(refresh, str) else "")


def _lifetime(fields: dict[str, object]) -> float:
    """Seconds that a token is good for: `expires_in` from `issued_at` on, where the clocks of both sides agree about that."""
    stated = fields.get("expires_in")
    lifetime = min(max(_LEAST_LIFETIME, stated), _MOST_LIFETIME) if isinstance(stated, int) else _LEAST_LIFETIME
    try:
        age = time.time() - datetime.fromisoformat(str(fields.get("issued_at"))).timestamp()
    except (ValueError, OverflowError):
        age = 0.0
    return lifetime - age if 0 <= age < lifetime else float(lifetime)
