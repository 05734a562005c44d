"""Search: the index API that registries had before manifests existed and that Docker Hub still answers.

    GET /v1/_ping                        whether there is a registry at all
    GET /v1/search?q=<term>&n=<limit>    {"results": [{"name", "description", "star_count", "is_official", ...}]}

Docker Hub's index, or the one set in its place, is searched without a ping. Any other is asked over TLS first, then over plain HTTP if it
is an insecure registry.

Source: moby daemon/pkg/registry/search.go, search_endpoint_v1.go and search_session.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote_plus, urlsplit

from urllib3.response import BaseHTTPResponse

from stowage.services.errors import InvalidContent, InvalidParameter, InvalidReference, RegistryFailure
from stowage.services.oci import gojson
from stowage.services.oci.gojson import Fields
from stowage.services.oci.reference import Reference
from stowage.services.registry.connections import discard, read_bounded
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.hosts import DOCKER_HUB, Endpoint, Hosts, credential_host
from stowage.services.registry.transport import Transport
from stowage.services.registry.words import request_errors

HUB_INDEX = "https://index.docker.io/v1/"
_MAX_BODY = 4 << 20
_COPIES = 2
"""How often an answer is in memory once it has arrived."""


@dataclass(frozen=True, slots=True)
class FoundRepository:
    """A repository in the results of an index."""

    name: str
    description: str
    stars: int
    is_official: bool


@dataclass(frozen=True, slots=True)
class Index:
    """An index: the registry that it belongs to, its address (`base` ends in /v1), and whether it is known to exist."""

    domain: str
    endpoint: Endpoint
    known: bool = False


def find_index(hosts: Hosts, host: str, hub_index: str) -> Index:
    """The index of a registry, of docker.io if `host` is empty; raises InvalidParameter for what is not a host."""
    domain = _read_domain(host) if host else DOCKER_HUB
    if domain != DOCKER_HUB:
        return Index(domain, _endpoint(hosts, f"https://{domain}/v1"))
    return Index(domain, _endpoint(hosts, hub_index.rstrip("/").removesuffix("/v1") + "/v1"), known=True)


def search_index(
    transport: Transport,
    index: Index,
    term: str,
    *,
    limit: int,
    credentials: Credentials | None,
    headers: Mapping[str, str],
    insecure_setting: str,
    keep: Callable[[int], None],
) -> list[FoundRepository]:
    """Ask an index for up to `limit` repositories; credentials are sent only if they are meant for its registry.

    Raises InvalidParameter if nothing answers at the index, RegistryFailure if the answer is not a search result, and what `keep` raises.
    """
    endpoint = index.endpoint if index.known else _reach(transport, index.endpoint, headers, insecure_setting)
    url = f"{endpoint.base}/search?q={quote_plus(term)}&n={limit}"
    own = {**headers, "X-Docker-Token": "true", **_authorization(index.domain, endpoint, credentials)}
    response = _ask(transport, endpoint, url, own)
    if response.status != 200:
        discard(response)
        raise RegistryFailure(f"unexpected status code {response.status}")
    try:
        return _read_results(response, limit, keep)
    except InvalidContent as exc:
        raise RegistryFailure(f"error decoding registry search results: {exc}") from exc


def _read_domain(host: str) -> str:
    try:
        return Reference.parse(f"{host}/search").domain
    except InvalidReference as exc:
        raise InvalidParameter(f"invalid registry endpoint https://{host}/v1/: {exc}") from exc


def _endpoint(hosts: Hosts, base: str) -> Endpoint:
    host = urlsplit(base).netloc
    return Endpoint(base, insecure=host in hosts.insecure, trust=hosts.trust(host))


def _reach(transport: Transport, endpoint: Endpoint, headers: Mapping[str, str], insecure_setting: str) -> Endpoint:
    """The endpoint as it can be reached; any answer to a ping will do."""
    try:
        return _ping(transport, endpoint, headers)
    except RegistryFailure as secure:
        if not endpoint.insecure:
            raise InvalidParameter(
                f"invalid registry endpoint {endpoint.base}/: {secure}. If this private registry "
                f"supports only HTTP or HTTPS with an unknown "
                f"CA certificate, add `{endpoint.host}` to {insecure_setting}"
            ) from secure
        plain = endpoint.plain
        try:
            return _ping(transport, plain, headers)
        except RegistryFailure as insecure:
            attempts = f"HTTPS attempt: {secure}. HTTP attempt: {insecure}"
            raise InvalidParameter(f"invalid registry endpoint {gojson.quote(plain.base + '/')}. {attempts}") from insecure


def _ping(transport: Transport, endpoint: Endpoint, headers: Mapping[str, str]) -> Endpoint:
    discard(_ask(transport, endpoint, f"{endpoint.base}/_ping", headers))
    return endpoint


def _ask(transport: Transport, endpoint: Endpoint, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
    with request_errors():
        return transport.request("GET", url, headers, insecure=endpoint.insecure, trust=endpoint.trust)


def _authorization(domain: str, endpoint: Endpoint, credentials: Credentials | None) -> dict[str, str]:
    """A name and password as basic authentication, if they are meant for this index. An index has no use for other secrets."""
    if not credentials or not credentials.basic or not endpoint.may_have_secrets:
        return {}
    if credential_host(credentials.server_address, domain) != credential_host(endpoint.host, domain):
        return {}
    return {"Authorization": f"Basic {credentials.basic}"}


def _read_results(response: BaseHTTPResponse, limit: int, keep: Callable[[int], None]) -> list[FoundRepository]:
    """The first repositories in an answer; anything after its document is ignored. Raises InvalidContent."""
    try:
        body = read_bounded(response, _MAX_BODY, arrived=lambda size: keep(_COPIES * size))
    except RegistryFailure as exc:
        raise InvalidContent("unexpected EOF") from exc
    keep(gojson.decode_memory(body))
    try:
        document = gojson.decode_first(body)
    except InvalidContent as exc:
        raise InvalidContent(f"more than {_MAX_BODY} bytes" if len(body) > _MAX_BODY else str(exc)) from exc
    results = Fields({} if document is None else document, "SearchResults").array("results") or ()
    return [_read_result(Fields({} if result is None else result, "SearchResult")) for result in results[:limit]]


def _read_result(fields: Fields) -> FoundRepository:
    return FoundRepository(
        name=fields.text("name"),
        description=fields.text("description"),
        stars=fields.integer("star_count"),
        is_official=fields.boolean("is_official"),
    )
