"""Answering a registry's challenge: bearer tokens from its token server, and basic authentication.

A token server is asked with GET, either with a name and password or anonymously. If the client has an identity token, OAuth's POST is used.
A token is renewed when it expires, or when the registry no longer accepts it.

Source: distribution docs/content/spec/auth/token.md and oauth.md; containerd core/remotes/docker/authorizer.go and auth/fetch.go;
distribution registry/client/auth/session.go.

The token server may be on another host (Docker Hub and GitLab do that), but only over TLS. Plain HTTP, or unverified TLS, needs both the
registry and the server on the insecure list. A registry on the public internet may not name a server in a private network. If there is a
list of allowed servers, only those and each registry's own host are allowed; the servers in the list may be private.

A login tries a client's credentials at a registry:

    GET /v2/    401 with a challenge, then 200 with what the challenge asks for

Source: moby daemon/pkg/registry/auth.go (loginV2) and service.go (Auth).
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

from stowage.services.errors import InvalidContent, InvalidParameter, RegistryFailure
from stowage.services.oci import gojson
from stowage.services.registry.connections import MAX_ERROR_BODY, discard, read_bounded
from stowage.services.registry.credentials import Credentials, hiding
from stowage.services.registry.failure import (
    Challenge,
    Failed,
    Failure,
    NoAuthorization,
    NoCredentials,
    NoToken,
    failure_of,
    find_answerable,
    read_refusal,
)
from stowage.services.registry.hosts import DOCKER_HUB, Endpoint, HostNames, Hosts, addresses, is_public
from stowage.services.registry.transport import USER_AGENT, Transport
from stowage.services.registry.words import login_errors, status_line

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


class Realms:
    """The rules for token servers of one process; `setting` is the setting that lists the allowed ones."""

    def __init__(self, transport: Transport, allowed: HostNames, *, setting: str) -> None:
        self._transport = transport
        self._allowed = allowed
        self._setting = setting

    def allows_insecure(self, realm: str, endpoint: Endpoint) -> bool:
        """Whether the token server may be reached over unverified TLS or plain HTTP; raises RegistryFailure if the endpoint may not name
        it.
        """
        try:
            server = urlsplit(realm)
            own = server.netloc == endpoint.host
            is_host = bool(server.hostname) and "@" not in server.netloc and server.port != 0
        except ValueError as exc:
            raise RegistryFailure(f"failed to authorize: the realm is not a URL: {exc}") from exc
        if not is_host:
            raise RegistryFailure("failed to authorize: the realm is not the URL of a token server")
        insecure = endpoint.insecure and self._transport.allows_insecure(server.netloc)
        if server.scheme not in (("http", "https") if insecure else ("https",)):
            raise RegistryFailure(f"failed to authorize: the token server at {server.netloc} does not use https")
        if not own and self._allowed and server.netloc not in self._allowed:
            raise RegistryFailure(f"failed to authorize: {self._setting} does not list the token server at {server.netloc}")
        if not own and not self._allowed and _is_out_of_reach(server.netloc, endpoint):
            raise RegistryFailure(f"failed to authorize: {endpoint.host} names a token server in a private network, {server.netloc}")
        return insecure


def _is_out_of_reach(server: str, endpoint: Endpoint) -> bool:
    """Whether the registry is public (or can be resolved only by a proxy) and the server is not."""
    return all(map(is_public, addresses(endpoint.host))) and not all(map(is_public, addresses(server)))


def try_credentials(transport: Transport, realms: Realms, hosts: Hosts, credentials: Credentials) -> str:
    """Log in at the registry that the credentials name, docker.io if they name none; returns the identity token to keep, usually empty.

    Raises InvalidParameter for an address that is not a registry's, Unauthorized if the token server refuses, else RegistryFailure.
    """
    endpoint = hosts.endpoints(_domain(credentials.server_address))[-1]
    login = _Login(transport, realms, endpoint, credentials)
    with hiding(login.secrets), login_errors():
        try:
            return _try_at(transport, endpoint, login)
        except Failed as exc:
            if not exc.failure.suggests_plain_http(endpoint):
                raise
        return _try_at(transport, endpoint.plain, login)


def _try_at(transport: Transport, endpoint: Endpoint, login: _Login) -> str:
    url = f"{endpoint.base}/"
    response = _ask(transport, endpoint, url, {})
    challenge = find_answerable(response, endpoint.base)
    if challenge is not None:
        discard(response)
        try:
            login.answer(challenge, {})
        except NoAuthorization as exc:
            raise Failed(Failure("GET", url, exc)) from exc
        response = _ask(transport, endpoint, url, login.headers())
    discard(response)
    if response.status != 200:
        raise RegistryFailure(f"login attempt to {url} failed with status: {status_line(response.status)}")
    return login.identity_token


def _ask(transport: Transport, endpoint: Endpoint, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
    own = {"User-Agent": USER_AGENT, **dict(endpoint.headers), **headers}
    return transport.request("GET", url, own, insecure=endpoint.insecure, trust=endpoint.trust)


def _domain(server_address: str) -> str:
    """The registry that an address means: `https://index.docker.io/v1/`, `registry.example` or an empty string."""
    if not server_address:
        return DOCKER_HUB
    address = server_address if server_address.startswith(("https://", "http://")) else f"https://{server_address}"
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError as exc:
        raise InvalidParameter(f'unable to parse server address: parse "{address}": {exc}') from exc
    if not named or any(character in "\\/%\x7f" or character <= " " for character in parts.netloc):
        raise InvalidParameter(f'unable to parse server address: parse "{address}": invalid host')
    return parts.netloc


class _Login(Authorizer):
    """The authorization of a login: for no repository, with a token for later."""

    def __init__(self, transport: Transport, realms: Realms, endpoint: Endpoint, credentials: Credentials) -> None:
        super().__init__(transport, realms, endpoint, credentials, scope="")

    @property
    def identity_token(self) -> str:
        """The new one that the token server gave, else the client's own."""
        return super().identity_token or self._credentials.identity_token

    def _query(self, challenge: Challenge) -> list[tuple[str, str]]:
        account = [("account", self._credentials.username)] * bool(self._credentials.username)
        return [*super()._query(challenge), ("offline_token", "true"), ("client_id", CLIENT_ID), *account]
