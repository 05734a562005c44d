"""Answering a registry's challenge: bearer tokens from its token server, and basic authentication.

A token server is asked with GET, either with a name and password or anonymously. If the client has an identity token, OAuth's POST is used.
services/registry/realms.py says which servers may be named. A token is renewed when it expires, or when the registry no longer accepts it.

Source: distribution docs/content/spec/auth/token.md and oauth.md; containerd core/remotes/docker/authorizer.go and auth/fetch.go;
distribution registry/client/auth/session.go.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode, urlsplit

from urllib3.response import BaseHTTPResponse

from stowage.services.errors import InvalidContent, RegistryFailure
from stowage.services.oci import gojson
from stowage.services.registry.challenges import Challenge
from stowage.services.registry.failure import Failed, NoAuthorization, NoCredentials, NoToken, failure_of
from stowage.services.registry.hosts import Endpoint
from stowage.services.registry.protocol import Credentials
from stowage.services.registry.realms import Realms
from stowage.services.registry.refusals import read_refusal
from stowage.services.registry.transport import MAX_ERROR_BODY, USER_AGENT, Transport, read_bounded

_MAX_TOKEN_BODY = 1 << 20
_MAX_TOKEN = 64 << 10
"""Characters of a token; no server takes longer headers, and real ones have up to some ten thousand."""
_MAX_TOKENS = 16
"""How many tokens, the newest, are remembered to redact them in errors; an older one is no longer used."""
CLIENT_ID = "docker"
"""The name under which a token server knows clients of this kind."""
_LEAST_LIFETIME = 60
"""A token is used for at least this many seconds, whatever its server says, as in distribution's client."""
_MOST_LIFETIME = 365 * 86_400


@dataclass(frozen=True, slots=True)
class _Token:
    """A bearer token, when it expires (monotonic seconds), and the refresh token sent with it, if any."""

    text: str
    expires: float
    refresh: str


class Authorizer:
    """The authorization of one operation at one endpoint, usable from any thread. `scope` is empty for a login.

    Credentials are None if they are meant for another host. They are not used if the endpoint may not have secrets.
    """

    def __init__(self, transport: Transport, realms: Realms, endpoint: Endpoint, credentials: Credentials | None, *, scope: str) -> None:
        self._transport = transport
        self._realms = realms
        self._endpoint = endpoint
        self._credentials = (endpoint.may_have_secrets and credentials) or Credentials()
        self._scope = scope
        self._lock = threading.RLock()
        self._challenge: Challenge | None = None
        self._token: _Token | None = None
        self._tokens: deque[_Token] = deque(maxlen=_MAX_TOKENS)
        given = self._credentials.registry_token
        self._headers = {"Authorization": f"Bearer {given}"} if given else {}

    def headers(self) -> Mapping[str, str]:
        """The header for the next request, if any; an expired token is renewed first. Raises as `answer` does."""
        with self._lock:
            if self._challenge and self._token and time.monotonic() >= self._token.expires:
                self._authorize(self._challenge)
            return self._headers

    def can_answer(self, challenge: Challenge, sent: Mapping[str, str]) -> bool:
        """Whether there is anything to send other than the headers `sent`, which met this challenge: a wrong password stays wrong."""
        named = sent.get("Authorization", "").startswith("Basic ")
        return self._headers != sent or not (self._credentials.registry_token or (named and challenge.scheme == "basic"))

    def answer(self, challenge: Challenge, sent: Mapping[str, str]) -> None:
        """Prepare the answer to a challenge to the headers `sent`; the next `headers` returns it.

        Raises NoAuthorization if the credentials that the challenge needs are missing or the token server gives no token, and
        RegistryFailure for a token server that may not be asked.
        """
        with self._lock:
            if self._headers == sent:  # otherwise another thread has answered in the meantime
                self._authorize(challenge)

    @property
    def identity_token(self) -> str:
        """The refresh token that the token server gave, if any."""
        return self._token.refresh if self._token else ""

    def secrets(self) -> list[str]:
        """Every secret that must not be shown in errors; of tokens the newest, which are those that may be in use."""
        given = self._credentials
        tokens = [text for token in list(self._tokens) for text in (token.text, token.refresh)]
        return [given.password, given.identity_token, given.registry_token, given.basic, *tokens]

    def _authorize(self, challenge: Challenge) -> None:
        if challenge.scheme == "basic":
            if not self._credentials.basic:
                raise NoCredentials("no basic auth credentials")
            self._headers, self._token = {"Authorization": f"Basic {self._credentials.basic}"}, None
            return
        self._challenge = challenge
        self._token = self._fetch_token(challenge)
        self._tokens.append(self._token)
        self._headers = {"Authorization": f"Bearer {self._token.text}"}

    def _fetch_token(self, challenge: Challenge) -> _Token:
        realm = challenge.parameters.get("realm")
        if not realm:
            raise NoAuthorization("no realm specified for token auth challenge")
        insecure = self._realms.allows_insecure(realm, self._endpoint)
        method, send = ("POST", self._refresh) if self._credentials.identity_token else ("GET", self._ask)
        try:
            response = send(realm, challenge, insecure)
            body = read_bounded(response, _MAX_TOKEN_BODY)
            if 200 <= response.status < 300:
                return _read_token(body)
            raise Failed(read_refusal(method, response, body[:MAX_ERROR_BODY]))
        except (Failed, RegistryFailure) as exc:
            named = self._credentials.identity_token or self._credentials.basic
            raise NoToken("oauth token" if named else "anonymous token", failure_of(exc)) from exc

    def _ask(self, realm: str, challenge: Challenge, insecure: bool) -> BaseHTTPResponse:
        basic = self._credentials.basic
        headers = {"User-Agent": USER_AGENT} | ({"Authorization": f"Basic {basic}"} if basic else {})
        url = realm + ("&" if "?" in realm else "?") + urlencode(self._query(challenge))
        return self._transport.request("GET", url, headers, insecure=insecure, within=frozenset({urlsplit(realm).netloc}))

    def _refresh(self, realm: str, challenge: Challenge, insecure: bool) -> BaseHTTPResponse:
        """Use an identity token. Redirects are not followed, because the secret is in the body."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._credentials.identity_token,
            "service": challenge.parameters.get("service", ""),
            "client_id": CLIENT_ID,
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


def _read_token(body: bytes) -> _Token:
    """The token in a token server's answer: `access_token`, or the older `token`."""
    try:
        answer = gojson.decode_first(body)
    except InvalidContent as exc:
        raise RegistryFailure(f"unable to decode token response: {exc}") from exc
    fields = answer if isinstance(answer, dict) else {}
    token = fields.get("access_token") or fields.get("token")
    if not token or not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise RegistryFailure("authorization server did not include a token in the response")
    stated = fields.get("refresh_token")
    refresh = stated if isinstance(stated, str) else ""
    if max(len(token), len(refresh)) > _MAX_TOKEN:
        raise RegistryFailure(f"authorization server sent a token of more than {_MAX_TOKEN} characters")
    return _Token(token, time.monotonic() + _lifetime(fields), refresh)


def _lifetime(fields: dict[str, object]) -> float:
    """Seconds that a token is still valid: `expires_in`, counted from `issued_at` if the clocks of both sides agree about it."""
    stated = fields.get("expires_in")
    lifetime = min(max(_LEAST_LIFETIME, stated), _MOST_LIFETIME) if isinstance(stated, int) else _LEAST_LIFETIME
    try:
        age = time.time() - datetime.fromisoformat(str(fields.get("issued_at"))).timestamp()
    except (ValueError, OverflowError):
        age = 0.0
    return lifetime - age if 0 <= age < lifetime else float(lifetime)
