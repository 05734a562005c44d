"""HTTP to registries: pooled connections, proxies, redirects followed by hand, bodies taken as raw bytes.

The library does nothing beyond one request: no retries, no cookies, no netrc, no decoding (Accept-Encoding is identity). A redirect to
another host carries neither Authorization nor any header of the client's own. It never leaves TLS for plain HTTP unless the new host is an
insecure registry.

The proxies are those of the usual environment variables: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in upper or lower case. NO_PROXY is a
comma-separated list of `*`, networks, addresses, `host`, `.domain` and `*.domain`. The last two match every host below the domain; `host`
also does. Each may have a `:port` to match only that one. A proxy is never used for loopback.

Source: Go's golang.org/x/net/http/httpproxy; moby daemon/info.go (MaskCredentials in daemon/config).
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning
from urllib3.response import BaseHTTPResponse

from stowage.services.errors import RegistryFailure
from stowage.services.registry.connections import POOLS, SOCKET_OPTIONS, UploadBody, discard
from stowage.services.registry.credentials import public_url, without_query
from stowage.services.registry.failure import Failed, Failure
from stowage.services.registry.hosts import Address, Hosts, Trust
from stowage.services.registry.words import is_lasting, reason

_log = logging.getLogger(__name__)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # not that a connection is closed after a burst of requests

USER_AGENT = "Stowage"
_MAX_REDIRECTS = 10
_CONNECTIONS_PER_HOST = 16
_MANAGERS = 16  # pools by trust and proxy: changed certificates leave their old ones behind
_CONNECT_SECONDS = 10
_UPLOAD_SECONDS = 300  # a registry reads a large blob again before it answers
_PUBLIC_HEADERS = frozenset({"accept", "accept-encoding", "range", "user-agent"})


@dataclass(frozen=True, slots=True)
class Proxies:
    """The three variables as they are set."""

    http: str = ""
    https: str = ""
    none: str = ""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Proxies:
        """Read them; a variable in upper case takes precedence over the same in lower case."""
        return cls(*(environ.get(name) or environ.get(name.lower(), "") for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")))

    def proxy_of(self, url: str) -> str:
        """The URL of the proxy for a request, empty if there is none."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme == "https" else self.http
        if not proxy or self._goes_directly(parts):
            return ""
        return proxy if "://" in proxy else f"http://{proxy}"

    @property
    def masked(self) -> Proxies:
        """The same without credentials, as GET /info shows it."""
        return Proxies(_mask(self.http), _mask(self.https), self.none)

    def _goes_directly(self, parts: SplitResult) -> bool:
        host = (parts.hostname or "").rstrip(".")
        port = str(parts.port or (443 if parts.scheme == "https" else 80))
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(_matches(entry.strip().lower(), host, port, address) for entry in self.none.split(",") if entry.strip())


DIRECT = Proxies()
"""No proxy at all."""


class Transport:
    """Sends requests to every registry for a process, from any thread. A server may be silent for `stall_seconds`.

    An answer, including its body unless that is a blob, may take five times as long (services/registry/connections.py).
    """

    def __init__(self, hosts: Hosts, *, proxies: Proxies = DIRECT, stall_seconds: float) -> None:
        self._hosts = hosts
        self._proxies = proxies
        self._manager = lru_cache(maxsize=_MANAGERS)(_manager)
        self._timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=stall_seconds)
        self._upload_timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=max(_UPLOAD_SECONDS, stall_seconds))

    def pools(self, url: str, trust: Trust, *, insecure: bool) -> urllib3.PoolManager:
        """The connections for a request to this URL; raises RegistryFailure for invalid certificates or proxies."""
        return self._manager(replace(trust, verified=trust.verified and not insecure), self._proxies.proxy_of(url))

    def allows_insecure(self, host: str) -> bool:
        """Whether this `host` or `host:port` may be reached over plain HTTP or unverified TLS."""
        return host in self._hosts.insecure

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        insecure: bool,
        trust: Trust | None = None,
        within: Container[str] | None = None,
    ) -> BaseHTTPResponse:
        """Send a request without a body and follow its redirects, only to hosts in `within` if given; the caller reads or closes it.

        `trust` is by default what the folders of certificates say about the host. Raises Failed if there is no answer, and RegistryFailure
        for an invalid setting.
        """
        trust = self._hosts.trust(urlsplit(url).netloc) if trust is None else trust
        asked = url
        for _ in range(_MAX_REDIRECTS + 1):
            response = self.send(method, url, headers, insecure=insecure, trust=trust)
            location = response.get_redirect_location()
            if not location:
                return response
            discard(response)
            try:
                target, insecure = self._follow(url, location, within, insecure=insecure)
            except RegistryFailure as exc:
                raise Failed(Failure(method, asked, exc)) from exc
            if _leaves(url, target):
                headers = {name: value for name, value in headers.items() if name.lower() in _PUBLIC_HEADERS}
                trust = trust.elsewhere(self._hosts.trust(urlsplit(target).netloc))
            url = target
        raise Failed(Failure(method, asked, RegistryFailure(f"stopped after {_MAX_REDIRECTS} redirects")))

    def _follow(self, url: str, location: str, within: Container[str] | None, *, insecure: bool) -> tuple[str, bool]:
        """Where a redirect leads, and whether that host may be insecure; raises RegistryFailure if it may not be followed."""
        target = redirect_target(url, location)
        host = urlsplit(target).netloc
        if within is not None and host not in within:
            raise RegistryFailure(f"{urlsplit(url).netloc} redirects to {host}, which is not allowed")
        insecure = self.allows_insecure(host) if _leaves(url, target) else insecure
        check_redirect(url, target, insecure=insecure)
        return target, insecure

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | UploadBody | None = None,
        *,
        insecure: bool,
        trust: Trust | None = None,
    ) -> BaseHTTPResponse:
        """Send one request and return its answer, even a redirect; the caller reads or closes it. Raises as `request` does."""
        began = time.monotonic()
        try:
            trust = self._hosts.trust(urlsplit(url).netloc) if trust is None else trust
            response = self.pools(url, trust, insecure=insecure).request(
                method,
                url,
                body=body,
                headers={"Accept-Encoding": "identity", **_framing(body), **headers},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=self._timeout if body is None else self._upload_timeout,
            )
        except (HTTPError, OSError) as exc:
            _log.debug("%s %s: %s", method, public_url(url), reason(exc, url))
            raise Failed(Failure(method, url, exc, retry_after=None if is_lasting(exc) else 0)) from exc
        except ValueError:  # from http.client; its message may contain a secret
            raise Failed(Failure(method, url, ValueError("invalid URL or header field value"))) from None
        response.url = url
        _log_answer(method, url, headers, response.status, began)
        return response


def _log_answer(method: str, url: str, headers: Mapping[str, str], status: int, began: float) -> None:
    """Log a request for debugging, with the kind of its authorization and nothing else that is secret."""
    kind = headers.get("Authorization", "").partition(" ")[0] or "no authorization"
    _log.debug("%s %s with %s: %d in %d ms", method, public_url(url), kind, status, round((time.monotonic() - began) * 1000))


def _framing(body: bytes | UploadBody | None) -> dict[str, str]:
    """The length of a body that the library cannot measure."""
    return {"Content-Length": str(body.length)} if isinstance(body, UploadBody) else {}


def _leaves(source: str, target: str) -> bool:
    """Whether a redirect leads to a target that may not see the source's secrets: another host or port, or the same without TLS."""
    before, after = urlsplit(source), urlsplit(target)
    return before.netloc != after.netloc or (before.scheme, after.scheme) == ("https", "http")


def redirect_target(source: str, location: str) -> str:
    """Where a redirect leads; raises RegistryFailure for what is not a URL."""
    try:
        return urljoin(source, location)
    except ValueError as exc:
        raise RegistryFailure(f'failed to parse Location header "{without_query(location)[:128]}": {exc}') from exc


def check_redirect(source: str, target: str, *, insecure: bool) -> None:
    """Raise RegistryFailure for a redirect that is neither http nor https, or that leaves TLS without permission."""
    scheme = urlsplit(target).scheme
    if scheme not in ("http", "https"):
        raise RegistryFailure(f"unsupported protocol scheme in a redirect from {urlsplit(source).netloc}")
    if scheme == "http" and urlsplit(source).scheme == "https" and not insecure:
        raise RegistryFailure(f"{urlsplit(source).netloc} redirects from https to http")


def _manager(trust: Trust, proxy: str) -> urllib3.PoolManager:
    if not trust.verified:
        urllib3.disable_warnings(InsecureRequestWarning)  # the operator listed these hosts; a warning for each would say nothing new
    options: dict[str, Any] = {
        "num_pools": 32, "maxsize": _CONNECTIONS_PER_HOST, "ssl_context": trust.context(), "socket_options": SOCKET_OPTIONS,
    }  # fmt: skip
    try:
        manager = urllib3.ProxyManager(**_through(proxy), **options) if proxy else urllib3.PoolManager(**options)
    except ValueError as exc:  # urllib3's errors about URLs are ValueErrors
        raise RegistryFailure("the proxy in the environment is not the URL of an HTTP proxy") from exc
    manager.pool_classes_by_scheme = POOLS
    return manager


def _directly(context: ssl.SSLContext) -> urllib3.PoolManager:
    return urllib3.PoolManager(num_pools=32, maxsize=_CONNECTIONS_PER_HOST, ssl_context=context, socket_options=SOCKET_OPTIONS)


def _through(proxy: str) -> dict[str, Any]:
    """The address of a proxy and the credentials in its URL, as urllib3 takes them."""
    parts = urlsplit(proxy)
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    return {
        "proxy_url": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        "proxy_headers": urllib3.make_headers(proxy_basic_auth=credentials),
    }


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _matches(entry: str, host: str, port: str, address: Address | None) -> bool:
    """Whether an entry of NO_PROXY matches this host and port."""
    if entry == "*":
        return True
    network = _network(entry)
    if network is not None:
        return address is not None and address in network
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdecimal() and not name.endswith(":"):
        return wanted == port and _matches(name.strip("[]"), host, port, address)
    if entry.startswith((".", "*.")):
        return host.endswith(entry.removeprefix("*"))
    return host == entry or host.endswith(f".{entry}")


def _mask(url: str) -> str:
    credentials, at, rest = url.rpartition("@")
    scheme, colon, _ = credentials.partition("://")
    return f"{scheme}://xxxxx:xxxxx@{rest}" if at and colon else ("xxxxx:xxxxx@" + rest if at else url)
