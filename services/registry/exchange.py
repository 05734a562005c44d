"""The requests of one operation to one repository.

Each request goes to the endpoints in order until one has what it asks for. If none has, the answer is what the last one says. A mirror's
failure only moves on to the next endpoint, and so does a blob that does not match its digest. If a mirror began a blob and did not finish
it, the endpoints after it are asked first. An insecure registry is tried over TLS first. If it does not speak TLS, plain HTTP is used for
the rest of the operation.

Source: moby daemon/hosts.go and daemon/internal/distribution/registry.go; containerd core/remotes/docker/resolver.go (doWithRetries,
httpFallback).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from urllib3.response import BaseHTTPResponse

from stowage.services.errors import EngineError, NotFound
from stowage.services.oci.reference import Reference
from stowage.services.registry.auth import Authorizer, Realms
from stowage.services.registry.connections import UploadBody, discard
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.failure import (
    NO_RANGES,
    Failed,
    Failure,
    NoAuthorization,
    challenges,
    find_answerable,
    origin,
    refused,
    stated_error,
)
from stowage.services.registry.hosts import NO_HOSTS, Endpoint, HostNames, credential_host
from stowage.services.registry.transport import USER_AGENT, Transport, check_redirect, redirect_target

_log = logging.getLogger(__name__)

Send = Callable[[Mapping[str, str]], BaseHTTPResponse]
"""Sends a request with these authorization headers."""


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
        self._senders: dict[str, list[int]] = {}  # of the bytes of a path, the last one last
        self._suspected: dict[str, int] = {}
        self._distrusted: dict[str, set[int]] = {}
        self._speaks_tls: set[int] = set()
        meant_for = credential_host(credentials.server_address, reference.domain) if credentials else ""
        scope = f"repository:{reference.path}:{'pull,push' if pushes else 'pull'}"
        self._authorizers = [
            Authorizer(transport, realms, endpoint, credentials if endpoint.host == meant_for else None, scope=scope)
            for endpoint in endpoints
        ]

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Send to `/v2/<name>/<path>`; returns the first success, else the last endpoint's answer, whatever its status.

        For a Range request, the answer of an endpoint without ranges is preferred to the last one's, as it may have the whole blob.
        Raises Failed if there is no answer or access is denied, RegistryFailure for what the settings or rules do not allow, and NotFound
        if no endpoint may be asked for this.
        """
        failures: dict[int, BaseHTTPResponse | Exception] = {}
        for index in self._order(path):
            try:
                response = self._try_endpoint(index, method, path, headers)
            except (Failed, EngineError) as exc:
                failures[index] = exc
                continue
            if response.status < 300:
                _discard_all(failures.values())
                if method == "GET":
                    self._senders[path] = [*(self._senders.get(path, []) if "Range" in headers else []), index]
                return response
            failures[index] = response
        return _last_word(failures, ranged="Range" in headers)

    def request_at(
        self, method: str, location: str, headers: Mapping[str, str], body: bytes | UploadBody | None = None
    ) -> BaseHTTPResponse:
        """Send to a URL, absolute or relative to the last endpoint's; another origin gets nothing that is meant for the registry.

        Raises Failed, also if access is denied, and RegistryFailure.
        """
        endpoint, authorizer = self._endpoints[-1], self._authorizers[-1]
        url = redirect_target(f"{endpoint.base}/{self._reference.path}/", location)
        if origin(url) == origin(endpoint.base):
            own = {**self._headers, **dict(endpoint.headers), **headers}
            return self._answering(endpoint, authorizer, method, url, lambda authorization: self._transport.send(
                method, url, {**own, **authorization}, body, insecure=endpoint.insecure, trust=endpoint.trust
            ))  # fmt: skip
        insecure = self._transport.allows_insecure(urlsplit(url).netloc)
        check_redirect(endpoint.base, url, insecure=insecure)
        return self._transport.send(method, url, {"User-Agent": self._headers["User-Agent"], **headers}, body, insecure=insecure)

    def request_foreign(self, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse | None:
        """Ask for a layer at a URL of its manifest, with nothing of the client's; None if the settings do not allow its host."""
        try:
            host = urlsplit(url).netloc
        except ValueError:
            return None
        if host not in self._foreign_hosts:
            return None
        own = {"User-Agent": USER_AGENT, **headers}
        return self._transport.request("GET", url, own, insecure=self._transport.allows_insecure(host), within=self._foreign_hosts)

    def suspect(self, path: str) -> None:
        """When this path is requested again, ask the next endpoint first, if there is one: the last answer broke off."""
        self._suspected[path] = self._senders.get(path, [-1])[-1] + 1

    def distrust(self, path: str) -> bool:
        """Stop asking the endpoint that sent this, because its bytes are wrong; returns whether there is another to ask.

        If several sent parts, the first in the settings is blamed: the registry itself is the last.
        """
        senders = set(self._senders.pop(path, ()))
        if not senders:
            return False
        blamed = min(senders)
        _log.warning("%s %s wrong bytes for %s", self._endpoints[blamed].host, "sent" if len(senders) == 1 else "may have sent", path)
        self._distrusted.setdefault(path, set()).add(blamed)
        return not self._distrusted[path].issuperset(self._capable(path))

    def succeeded(self, method: str, response: BaseHTTPResponse, wanted: Container[int] = range(300)) -> BaseHTTPResponse:
        """The response of a successful request, which has one of these statuses; raises Failed for any other."""
        if response.status in wanted:
            return response
        raise self.refused(method, response)

    def refused(self, method: str, response: BaseHTTPResponse) -> Failed:
        """The failure in an answer, whose body is read, and the endpoint that gave it; raises RegistryFailure if the body breaks off."""
        failure = refused(method, response).failure
        asked = next((endpoint for endpoint in self._endpoints if origin(endpoint.base) == origin(failure.url)), None)
        return Failed(replace(failure, endpoint=asked))

    def secrets(self) -> list[str]:
        """Everything that proves who the client or the service is and must not be shown."""
        found = [secret for authorizer in self._authorizers for secret in authorizer.secrets()]
        return found + [value for endpoint in self._endpoints for _, value in endpoint.headers]

    def _order(self, path: str) -> list[int]:
        """The endpoints to ask for this. Distrusted ones are left out if there is another; those up to one that broke off come last."""
        capable = self._capable(path)
        trusted = [index for index in capable if index not in self._distrusted.get(path, ())] or capable[-1:]
        return sorted(trusted, key=lambda index: index < self._suspected.get(path, 0))

    def _capable(self, path: str) -> list[int]:
        """The endpoints that may be asked for this, in the order of the settings."""
        names_by_tag = path.startswith("tags/") or (path.startswith("manifests/") and ":" not in path)
        needed = "push" if self._pushes else "resolve" if names_by_tag else "pull"
        capable = [index for index, endpoint in enumerate(self._endpoints) if needed in endpoint.capabilities]
        if not capable:
            raise NotFound(f"no {needed} hosts: not found")
        return capable

    def _try_endpoint(self, index: int, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Send to one endpoint, and again over plain HTTP if it is insecure and does not speak TLS."""
        endpoint = self._endpoints[index]
        try:
            response = self._authorized(index, method, path, headers)
        except Failed as exc:
            if index in self._speaks_tls or not exc.failure.suggests_plain_http(endpoint):
                raise
            self._endpoints[index] = endpoint.plain
            response = self._authorized(index, method, path, headers)
        self._speaks_tls.add(index)
        if method == "HEAD" and response.status in (403, 405):  # the reason is in a body, or the registry supports only GET
            discard(response)
            response = self._authorized(index, "GET", path, headers)
        return response

    def _authorized(self, index: int, method: str, path: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Send to one endpoint, and again with what its challenge asks for."""
        endpoint = self._endpoints[index]
        url = f"{endpoint.base}/{self._reference.path}/{path}"
        if endpoint.namespace:
            url += ("&" if "?" in url else "?") + f"ns={endpoint.namespace}"
        own = {**self._headers, **dict(endpoint.headers), **headers}
        return self._answering(endpoint, self._authorizers[index], method, url, lambda authorization: self._transport.request(
            method, url, {**own, **authorization}, insecure=endpoint.insecure, trust=endpoint.trust
        ))  # fmt: skip

    def _answering(self, endpoint: Endpoint, authorizer: Authorizer, method: str, url: str, send: Send) -> BaseHTTPResponse:
        """Send, and again with what the endpoint's challenge asks for, if that is anything new."""
        try:
            sent = authorizer.headers()
            response = send(sent)
            challenge = find_answerable(response, endpoint.base)
            if challenge is not None and authorizer.can_answer(challenge, sent):
                discard(response)
                authorizer.answer(challenge, sent)
                response = send(authorizer.headers())
            if challenge is not None and response.status == 401 and stated_error(challenges(response)):
                raise refused(method, response, denied=True)
        except NoAuthorization as exc:
            raise Failed(Failure(method, url, exc, exc.retry_after, endpoint)) from exc
        except Failed as exc:
            raise Failed(replace(exc.failure, endpoint=endpoint)) from exc
        return response


def _last_word(failures: dict[int, BaseHTTPResponse | Exception], *, ranged: bool) -> BaseHTTPResponse:
    """The answer that counts if no endpoint has what was asked for; raises it if it is an exception."""
    refusing = (index for index, failure in failures.items() if isinstance(failure, BaseHTTPResponse) and failure.status in NO_RANGES)
    counts = failures.pop(next(refusing, max(failures)) if ranged else max(failures))
    _discard_all(failures.values())
    if isinstance(counts, Exception):
        raise counts
    return counts


def _discard_all(failures: Iterable[BaseHTTPResponse | Exception]) -> None:
    for failure in failures:
        if isinstance(failure, BaseHTTPResponse):
            discard(failure)
