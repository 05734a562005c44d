"""Trying a client's credentials at a registry.

    GET /v2/    401 with a challenge, then 200 with what the challenge asks for

Source: moby daemon/pkg/registry/auth.go (loginV2) and service.go (Auth).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from urllib3.response import BaseHTTPResponse

from stowage.services.errors import InvalidParameter, RegistryFailure
from stowage.services.registry.auth import CLIENT_ID, Authorizer
from stowage.services.registry.challenges import Challenge, find_answerable
from stowage.services.registry.distribution_words import login_errors
from stowage.services.registry.failure import Failed, Failure, NoAuthorization
from stowage.services.registry.gohttp import status_line
from stowage.services.registry.hosts import DOCKER_HUB, Endpoint, Hosts
from stowage.services.registry.protocol import Credentials
from stowage.services.registry.realms import Realms
from stowage.services.registry.redaction import hiding
from stowage.services.registry.transport import USER_AGENT, Transport, discard


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
