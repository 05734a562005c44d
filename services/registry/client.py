"""The registry client of a process, and the requests of one operation to one repository.

Each request goes to the endpoints in order until one has what it asks for; what the last one says is the answer. A mirror's failure only
moves on to the next endpoint. An insecure registry is tried in TLS first; one that does not speak it is spoken to in plain HTTP for the
rest of the operation.

Source: moby daemon/hosts.go; containerd core/remotes/docker/resolver.go (doWithRetries, httpFallback).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from urllib3.response import BaseHTTPResponse

from services.errors import EngineError, RegistryFailure
from services.oci.reference import Reference
from services.registry.auth import Authorizer, find_answerable, is_denied
from services.registry.errors import access_denied
from services.registry.hosts import DOCKER_HUB, Endpoint, InsecureHosts, credential_host, endpoints
from services.registry.protocol import Credentials, Repository
from services.registry.repository import RemoteRepository
from services.registry.transport import Transport, discard, suggests_plain_http


class RegistryClient:
    """Opens repositories; its connections are kept for all of them.

    `insecure` lists networks, hosts and `host:port`s that may be spoken to in plain HTTP or unverified TLS; `mirrors` are URLs that are
    asked for docker.io's repositories first.
    """

    def __init__(self, *, insecure: tuple[str, ...] = (), mirrors: tuple[str, ...] = ()) -> None:
        self._insecure = InsecureHosts(insecure)
        self._mirrors = mirrors
        self._transport = Transport(self._insecure)

    @contextmanager
    def repository(
        self, reference: Reference, *, credentials: Credentials | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Repository]:
        """Open the repository of this reference for one operation; no request is sent yet."""
        found = endpoints(reference.domain, self._mirrors, self._insecure)
        yield RemoteRepository(reference, Exchange(self._transport, reference, found, credentials, headers or {}))


class Exchange:
    """The requests of one operation. Usable from several threads after its first answer."""

    def __init__(
        self,
        transport: Transport,
        reference: Reference,
        endpoints: list[Endpoint],
        credentials: Credentials | None,
        headers: Mapping[str, str],
    ) -> None:
        self._transport = transport
        self._reference = reference
        self._endpoints = endpoints
        self._headers = {"User-Agent": "Stowage", **headers}
        meant_for = credential_host(credentials.server_address, reference.domain) if credentials else ""
        self._authorizers = [
            Authorizer(transport, reference.path, credentials if endpoint.host == meant_for else None) for endpoint in endpoints
        ]

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Send to `/v2/<name>/<path>`; returns the first success, else the last answer, whatever its status.

        Raises RegistryFailure where there is none, NotFound where access is denied.
        """
        last = len(self._endpoints) - 1
        for index in range(last):
            try:
                response = self._try_endpoint(index, method, path, headers)
            except EngineError:
                continue
            if response.status < 300:
                return response
            discard(response)
        return self._try_endpoint(last, method, path, headers)

    def _try_endpoint(self, index: int, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Send to one endpoint, in plain HTTP if it is insecure and does not speak TLS."""
        endpoint = self._endpoints[index]
        try:
            response = self._authorized(index, method, path, headers)
        except RegistryFailure as exc:
            if not (endpoint.may_be_plain and suggests_plain_http(exc, endpoint.host)):
                raise
            self._endpoints[index] = endpoint.plain
            response = self._authorized(index, method, path, headers)
        if method == "HEAD" and response.status in (403, 405):  # the reason is in a body; or the registry knows only GET
            discard(response)
            response = self._authorized(index, "GET", path, headers)
        return response

    def _authorized(self, index: int, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Send to one endpoint, and once more with what its challenge asks for."""
        endpoint, authorizer = self._endpoints[index], self._authorizers[index]
        response = self._send(endpoint, method, path, {**headers, **authorizer.headers})
        challenge = find_answerable(response) if response.status == 401 else None
        if challenge is None:
            return response
        discard(response)
        authorizer.answer(challenge)
        response = self._send(endpoint, method, path, {**headers, **authorizer.headers})
        if response.status == 401 and is_denied(response):
            discard(response)
            raise access_denied(self._reference.familiar_name)
        return response

    def _send(self, endpoint: Endpoint, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        url = f"{endpoint.base}/{self._reference.path}/{path}"
        if endpoint.mirror:
            url += ("&" if "?" in url else "?") + f"ns={DOCKER_HUB}"
        return self._transport.request(method, url, {**self._headers, **headers}, insecure=endpoint.insecure)
