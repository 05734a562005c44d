"""Where the requests for a repository go, and whether the way there must be verified TLS.

    docker.io        each mirror in order, then registry-1.docker.io
    anything else    the host of the reference

A mirror is a URL without query or credentials; its path, if any, comes before `/v2`. An entry of the insecure list is a network
(`127.0.0.0/8`), a host or a `host:port`; a host name also matches a network that one of its addresses is in.

Source: moby daemon/hosts.go, daemon/pkg/registry/config.go (isCIDRMatch) and service_v2.go; containerd core/remotes/docker/config/hosts.go.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

DOCKER_HUB = "docker.io"
_HUB_ALIASES = frozenset({DOCKER_HUB, "index.docker.io"})
_HUB_HOST = "registry-1.docker.io"

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A registry's address: `base` ends in /v2. `insecure` allows unverified TLS, and plain HTTP where `base` is https."""

    base: str
    insecure: bool
    mirror: bool = False

    @property
    def host(self) -> str:
        """`host` or `host:port`."""
        return urlsplit(self.base).netloc

    @property
    def may_be_plain(self) -> bool:
        """Whether plain HTTP may be tried where TLS fails."""
        return self.insecure and self.base.startswith("https://")

    @property
    def plain(self) -> Endpoint:
        """The same over plain HTTP."""
        return Endpoint("http://" + self.base.partition("://")[2], self.insecure, self.mirror)


class InsecureHosts:
    """The registries that may be spoken to in plain HTTP or unverified TLS."""

    def __init__(self, entries: tuple[str, ...]) -> None:
        self._networks: list[_Network] = []
        self._hosts: set[str] = set()
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._hosts.add(entry)

    def __contains__(self, host: str) -> bool:
        """Whether this `host` or `host:port` is one of them; asks the resolver where only its addresses can tell."""
        if host in self._hosts:
            return True
        return any(address in network for address in _addresses(host) for network in self._networks)


def endpoints(domain: str, mirrors: tuple[str, ...], insecure: InsecureHosts) -> list[Endpoint]:
    """The endpoints to try in order for a reference's domain."""
    if domain not in _HUB_ALIASES:
        return [Endpoint(f"https://{domain}/v2", domain in insecure)]
    return [*(_mirror(url, insecure) for url in mirrors), Endpoint(f"https://{_HUB_HOST}/v2", insecure=False)]


def credential_host(server_address: str, domain: str) -> str:
    """The registry host that credentials for this server address (empty: the reference's domain) are meant for."""
    address = server_address or domain
    host = address.partition("://")[2].partition("/")[0] if "://" in address else address.partition("/")[0]
    return _HUB_HOST if host in _HUB_ALIASES else host


def _mirror(url: str, insecure: InsecureHosts) -> Endpoint:
    base = url.rstrip("/")
    return Endpoint(base if base.endswith("/v2") else base + "/v2", urlsplit(base).netloc in insecure, mirror=True)


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return [ipaddress.ip_address(name)]
    except ValueError:
        pass
    try:
        return [ipaddress.ip_address(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except (OSError, ValueError):
        return []
