"""The requests of one operation to one repository.

Each request goes to the endpoints in order until one has what it asks for; what the last one says is the answer. A mirror's failure only
moves on to the next endpoint, and so does a blob that it began and did not finish, or that is not what its digest says. An insecure
registry is tried in TLS first; one that does not speak it is spoken to in plain HTTP for the rest of the operation.

Source: moby daemon/hosts.go; containerd core/remotes/docker/resolver.go (doWithRetries, httpFallback).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from urllib3.response import BaseHTTPResponse

from services.errors import EngineError, NotFound, RegistryFailure
from services.oci.reference import Reference
from services.registry.auth import Authorizer, find_answerable, origin, stated_error
from services.registry.body import UploadBody
from services.registry.errors import access_denied, push_denied
from services.registry.hosts import NO_HOSTS, Endpoint, HostNames, credential_host
from services.registry.protocol import Credentials
from services.registry.realms import Realms
from services.registry.transport import USER_AGENT, Transport, check_redirect, discard, redirect_target, suggests_plain_http

_log = logging.getLogger(__name__)

Send = Callable[[Mapping[str, str]], BaseHTTPResponse]
"""Sends a request with these headers of authorization."""


class Exchange:
    """The requests of one operation. Usable from several threads after its first answer."""

    def __init__(
        self,
        transport: Transport,
        realms: Realms,
        reference: Reference,
        endpoints: list[Endpoint],
        credentials: Credentials | None,
        headers: Mapping[str, str],
        *,
        pushes: bool = False,
        foreign_hosts: HostNames = NO_HOSTS,
    ) -> None:
        self._pushes = pushes
        self._transport = transport
        self._reference = reference
        self._endpoints = endpoints
        self._foreign_hosts = foreign_hosts
        self._headers = {"User-Agent": USER_AGENT, **headers}
        self._began: dict[str, int] = {}
        self._answered: dict[str, int] = {}
        self._suspected: dict[str, int] = {}
        meant_for = credential_host(credentials.server_address, reference.domain) if credentials else ""
        scope = f"repository:{reference.path}:{'pull,push' if pushes else 'pull'}"
        self._authorizers = [
            Authorizer(transport, realms, endpoint, credentials if endpoint.host == meant_for else None, scope=scope, pushes=pushes)
            for endpoint in endpoints
        ]

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Send to `/v2/<name>/<path>`; returns the first success, else the last answer, whatever its status.

        Raises RegistryFailure where there is none, NotFound where access is denied or no endpoint may be asked for this.
        """
        *others, last = self._capable(path)
        for index in others:
            try:
                response = self._try_endpoint(index, method, path, headers)
            except EngineError:
                continue
            if response.status < 300:
                self._answered[path] = index
                self._began.setdefault(path, index)
                return response
            discard(response)
        self._answered[path] = last
        response = self._try_endpoint(last, method, path, headers)
        if response.status < 300:
            self._began.setdefault(path, last)
        return response

    def request_at(
        self, method: str, location: str, headers: Mapping[str, str], body: bytes | UploadBody | None = None
    ) -> BaseHTTPResponse:
        """Send to a URL, absolute or relative to the last endpoint's; one of another origin gets nothing that is meant for the registry.

        Raises RegistryFailure, and Unauthorized where access is denied.
        """
        endpoint, authorizer = self._endpoints[-1], self._authorizers[-1]
        url = redirect_target(f"{endpoint.base}/{self._reference.path}/", location)
        if origin(url) == origin(endpoint.base):
            own = {**self._headers, **dict(endpoint.headers), **headers}
            return self._answering(endpoint, authorizer, lambda authorization: self._transport.send(
                method, url, {**own, **authorization}, body, insecure=endpoint.insecure, trust=endpoint.trust
            ))  # fmt: skip
        insecure = self._transport.allows_insecure(urlsplit(url).netloc)
        check_redirect(endpoint.base, url, insecure=insecure)
        return self._transport.send(method, url, {"User-Agent": self._headers["User-Agent"], **headers}, body, insecure=insecure)

    def request_foreign(self, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse | None:
        """Ask for a layer at a URL of its manifest, with nothing of the client's; None where the settings do not allow its host."""
        try:
            host = urlsplit(url).netloc
        except ValueError:
            return None
        if host not in self._foreign_hosts:
            return None
        own = {"User-Agent": USER_AGENT, **headers}
        return self._transport.request("GET", url, own, insecure=self._transport.allows_insecure(host), within=self._foreign_hosts)

    def suspect(self, path: str) -> None:
        """Ask the next endpoint, if there is one, when this path is requested again: the one that answered broke off."""
        self._suspected[path] = self._answered.get(path, -1) + 1

    def distrust(self, path: str) -> bool:
        """Ask only endpoints after the one that began to answer this path, since the bytes that came are wrong; whether there are any."""
        began = self._began.pop(path, None)
        if began is None:
            return False
        _log.warning("%s sent wrong bytes for %s", self._endpoints[began].host, path)
        self._suspected[path] = began + 1
        return self._capable(path)[-1] > began

    def secrets(self) -> list[str]:
        """Whatever proves who the client or the service is, and must not be told."""
        found = [secret for authorizer in self._authorizers for secret in authorizer.secrets()]
        return found + [value for endpoint in self._endpoints for _, value in endpoint.headers]

    def _capable(self, path: str) -> list[int]:
        """The endpoints to ask for this, the one that must have the last word at the end."""
        names_by_tag = path.startswith("tags/") or (path.startswith("manifests/") and ":" not in path)
        needed = "push" if self._pushes else "resolve" if names_by_tag else "pull"
        capable = [index for index, endpoint in enumerate(self._endpoints) if needed in endpoint.capabilities]
        if not capable:
            raise NotFound(f"no {needed} hosts: not found")
        trusted = [index for index in capable if index >= self._suspected.get(path, 0)]
        return trusted or capable[-1:]

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
        endpoint = self._endpoints[index]
        return self._answering(
            endpoint,
            self._authorizers[index],
            lambda authorization: self._send(endpoint, method, path, {**headers, **authorization}),
        )

    def _answering(self, endpoint: Endpoint, authorizer: Authorizer, send: Send) -> BaseHTTPResponse:
        """Send, and once more with what the endpoint's challenge asks for, where that is anything new."""
        sent = authorizer.headers()
        response = send(sent)
        challenge = find_answerable(response, endpoint)
        if challenge is None:
            return response
        if authorizer.can_answer(challenge, sent):
            discard(response)
            authorizer.answer(challenge, sent)
            response = send(authorizer.headers())
        if response.status == 401 and (said := stated_error(response)):
            discard(response)
            if self._pushes:
                raise push_denied(f"server message: {said}: authorization failed")
            raise access_denied(self._reference.familiar_name)
        return response

    def _send(self, endpoint: Endpoint, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        url = f"{endpoint.base}/{self._reference.path}/{path}"
        if endpoint.namespace:
            url += ("&" if "?" in url else "?") + f"ns={endpoint.namespace}"
        own = {**self._headers, **dict(endpoint.headers), **headers}
        return self._transport.request(method, url, own, insecure=endpoint.insecure, trust=endpoint.trust)
