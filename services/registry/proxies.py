"""The proxies of the usual environment variables: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in upper or lower case.

NO_PROXY is a comma-separated list of `*`, networks, addresses, `host`, `.domain` and `*.domain`. The last two match every host below the
domain; `host` also does. Each may have a `:port` to match only that one. A proxy is never used for loopback.

Source: Go's golang.org/x/net/http/httpproxy; moby daemon/info.go (MaskCredentials in daemon/config).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from stowage.services.registry.addresses import Address


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
