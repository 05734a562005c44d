"""Where the requests for a repository go, and what TLS trusts there.

    docker.io        each mirror of the settings in order, then registry-1.docker.io
    anything else    the host of the reference

A folder named after the registry, in one of the folders of certificates, overrides that. Its hosts.toml counts if it has one
(services/registry/hosts_toml.py), else the certificates in it. The folder is named HOST, `HOST_PORT_` or HOST:PORT, or `_default`. The
first folder of certificates that has one counts. A hosts.toml without hosts keeps the mirrors of the settings. Everything is read again
for each operation.

A mirror is a URL without query or credentials; its path, if any, comes before `/v2`. An entry of the insecure list is a network
(`127.0.0.0/8`), a host or a `host:port`. A host name also matches a network that contains one of its addresses.

Source: moby daemon/hosts.go, daemon/pkg/registry/config.go (isCIDRMatch) and service_v2.go; containerd core/remotes/docker/config/hosts.go.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from stowage.services.registry.addresses import Address
from stowage.services.registry.certs import SYSTEM_TRUST, Trust, read_cert_folder
from stowage.services.registry.hosts_toml import CAPABILITIES, HostEntry, read_hosts

DOCKER_HUB = "docker.io"
HUB_ALIASES = frozenset({DOCKER_HUB, "index.docker.io"})
_HUB_HOST = "registry-1.docker.io"

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A registry's address: `base` is the root of its API, which usually ends in /v2.

    `insecure` allows unverified TLS, and plain HTTP if `base` is https. `namespace` is sent to a host that serves another's content.
    """

    base: str
    insecure: bool = False
    namespace: str = ""
    trust: Trust = SYSTEM_TRUST
    headers: tuple[tuple[str, str], ...] = ()
    capabilities: frozenset[str] = CAPABILITIES

    @property
    def host(self) -> str:
        """`host` or `host:port`."""
        return urlsplit(self.base).netloc

    @property
    def may_be_plain(self) -> bool:
        """Whether plain HTTP may be tried if TLS fails."""
        return self.insecure and self.base.startswith("https://")

    @property
    def may_have_secrets(self) -> bool:
        """Whether credentials may be sent: over TLS, or if the operator listed the host as insecure."""
        return self.insecure or self.base.startswith("https://")

    @property
    def plain(self) -> Endpoint:
        """The same over plain HTTP."""
        return replace(self, base="http://" + self.base.partition("://")[2])


class InsecureHosts:
    """The registries that may be reached over plain HTTP or unverified TLS."""

    def __init__(self, entries: tuple[str, ...]) -> None:
        self._networks: list[_Network] = []
        self._hosts: set[str] = set()
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._hosts.add(entry)

    def __contains__(self, host: str) -> bool:
        """Whether this `host` or `host:port` is one of them; its addresses are looked up only if needed."""
        if host in self._hosts:
            return True
        return any(address in network for address in addresses(host) for network in self._networks)


class Hosts:
    """What the settings say about registries: mirrors of docker.io, insecure ones, folders of certificates."""

    def __init__(self, *, insecure: tuple[str, ...] = (), mirrors: tuple[str, ...] = (), certs: tuple[Path, ...] = ()) -> None:
        self.insecure = InsecureHosts(insecure)
        self._mirrors = mirrors
        self._certs = certs

    def endpoints(self, domain: str) -> list[Endpoint]:
        """The endpoints to try in order for a reference's domain; raises RegistryFailure for an invalid folder of certificates."""
        found = [self._endpoint(entry, domain) for entry in self._entries(domain)]
        if domain in HUB_ALIASES and len(found) == 1:
            return [*(self._mirror(url) for url in self._mirrors), *found]
        return found

    def trust(self, host: str) -> Trust:
        """What TLS to this `host` or `host:port` trusts, whichever registry redirects there."""
        own = [endpoint for entry in self._entries(host) if (endpoint := self._endpoint(entry, host)).host == host]
        return own[-1].trust if own else SYSTEM_TRUST

    def _entries(self, domain: str) -> list[HostEntry]:
        """What the registry's folder says."""
        folder = self._folder(domain)
        if folder is None:
            return [HostEntry("", CAPABILITIES, SYSTEM_TRUST, ())]
        hosts = folder / "hosts.toml"
        return read_hosts(hosts) if hosts.is_file() else [HostEntry("", CAPABILITIES, read_cert_folder(folder), ())]

    def _folder(self, domain: str) -> Path | None:
        host, colon, port = domain.rpartition(":")
        names = [f"{host}_{port}_"] * bool(colon and host) + [domain, "_default"]
        return next((folder for root in self._certs for name in names if os.path.isdir(folder := root / name)), None)

    def _endpoint(self, entry: HostEntry, domain: str) -> Endpoint:
        own = _HUB_HOST if domain in HUB_ALIASES else domain
        base = entry.base or f"https://{own}/v2"
        host = urlsplit(base).netloc
        return Endpoint(
            base=base,
            insecure=host in self.insecure and host != _HUB_HOST,
            namespace="" if host in (own, domain) else domain,
            trust=entry.trust,
            headers=entry.headers,
            capabilities=entry.capabilities,
        )

    def _mirror(self, url: str) -> Endpoint:
        base = url.rstrip("/")
        host = urlsplit(base).netloc
        return Endpoint(
            base if base.endswith("/v2") else base + "/v2",
            insecure=host in self.insecure,
            namespace=DOCKER_HUB,
            trust=self.trust(host),
            capabilities=CAPABILITIES - {"push"},
        )


class HostNames:
    """A list of `HOST`, `HOST:PORT` and `*.DOMAIN` entries; the last matches every host below a domain."""

    def __init__(self, entries: tuple[str, ...]) -> None:
        self._names = frozenset(entry for entry in entries if not entry.startswith("*."))
        self._below = tuple(entry[1:] for entry in entries if entry.startswith("*."))

    def __bool__(self) -> bool:
        return bool(self._names or self._below)

    def __contains__(self, host: object) -> bool:
        """Whether this `host` or `host:port` is one of them, whatever its case."""
        netloc = str(host).lower()
        name = urlsplit(f"//{netloc}").hostname or ""
        return netloc in self._names or name in self._names or name.endswith(self._below)


NO_HOSTS = HostNames(())


def credential_host(server_address: str, domain: str) -> str:
    """The registry host that credentials for this server address (empty: the reference's domain) are meant for."""
    address = server_address or domain
    host = address.partition("://")[2].partition("/")[0] if "://" in address else address.partition("/")[0]
    return _HUB_HOST if host in HUB_ALIASES else host


def addresses(host: str) -> list[Address]:
    """The addresses of a `host` or `host:port`; empty if it cannot be resolved."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return [ipaddress.ip_address(name)]
    except ValueError:
        pass
    try:
        return [ipaddress.ip_address(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except (OSError, ValueError):
        return []
