"""Endpoints of a repository, and the certificates that TLS trusts there.

    docker.io        each mirror of the settings in order, then registry-1.docker.io
    anything else    the host of the reference

A folder named after the registry, in one of the folders of certificates, overrides that. Its hosts.toml counts if it has one, else the
certificates in it. The folder is named HOST, `HOST_PORT_` or HOST:PORT, or `_default`. The first folder of certificates that has one
counts. A hosts.toml without hosts keeps the mirrors of the settings. Everything is read again for each operation.

A mirror is a URL without query or credentials; its path, if any, comes before `/v2`. An entry of the insecure list is a network
(`127.0.0.0/8`), a host or a `host:port`. A host name also matches a network that contains one of its addresses.

Certificates are in Docker's layout: every `*.crt` is an authority, and every `NAME.cert` with its `NAME.key` is a client certificate.
hosts.toml is containerd's:

    server = "https://registry.example"            the last one asked; by default the registry itself

    [host."https://mirror.example"]
      capabilities = ["pull", "resolve"]           by default also push
      ca = "ca.pem"                                one file or several; relative to the folder of hosts.toml
      client = [["client.cert", "client.key"]]     pairs, or files with both
      skip_verify = false
      override_path = false                        true: the URL's path is the root of the API, without /v2
      [host."https://mirror.example".header]
        x-team = "blue"

Keys at the level of `server` apply to the server. `dial_timeout` and unknown keys are ignored.

Source: moby daemon/hosts.go, daemon/pkg/registry/config.go (isCIDRMatch), service_v2.go and registry.go (loadTLSConfig); containerd
docs/hosts.md, core/remotes/docker/config/hosts.go.
"""

from __future__ import annotations

import ipaddress
import os
import posixpath
import re
import socket
import ssl
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from urllib3.util.ssl_ import create_urllib3_context

from stowage.services.errors import RegistryFailure

DOCKER_HUB = "docker.io"
HUB_ALIASES = frozenset({DOCKER_HUB, "index.docker.io"})
_HUB_HOST = "registry-1.docker.io"

CAPABILITIES = frozenset({"pull", "resolve", "push"})
_KNOWN_CAPABILITIES = CAPABILITIES | {"referrers"}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.1."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class PemFile:
    """A file of certificates or a key. `modified` (nanoseconds) makes a changed file compare unequal."""

    path: Path
    modified: int

    @classmethod
    def at(cls, path: Path) -> PemFile:
        """The file as it is now; raises RegistryFailure if it does not exist."""
        try:
            return cls(path, path.stat().st_mtime_ns)
        except OSError as exc:
            raise RegistryFailure(f"failed to read {path}: {exc.strerror}") from exc


@dataclass(frozen=True, slots=True)
class Trust:
    """TLS to one host: whether it is verified, extra authorities, and client certificates with their keys."""

    verified: bool = True
    authorities: tuple[PemFile, ...] = ()
    clients: tuple[tuple[PemFile, PemFile], ...] = ()

    def elsewhere(self, own: Trust) -> Trust:
        """The trust in a host that this one redirects to, which has its `own`: only the authorities are carried over."""
        return Trust(own.verified, (*self.authorities, *own.authorities), own.clients)

    def context(self) -> ssl.SSLContext:
        """A client-side TLS context; raises RegistryFailure for a file that is not PEM."""
        context = ssl.create_default_context() if self.verified else create_urllib3_context(cert_reqs=ssl.CERT_NONE)
        context.verify_flags &= (
            ~ssl.VERIFY_X509_STRICT
        )  # on by default since Python 3.13; Go requires no more of private authorities than RFC 5280
        for authority in self.authorities if self.verified else ():
            with _naming(authority):
                context.load_verify_locations(authority.path)
        for certificate, key in self.clients:
            with _naming(certificate):
                context.load_cert_chain(certificate.path, key.path)
        return context


SYSTEM_TRUST = Trust()
"""The system's authorities alone."""


@contextmanager
def _naming(file: PemFile) -> Iterator[None]:
    """Say which file could not be loaded."""
    try:
        yield
    except OSError as exc:  # an SSLError is one
        raise RegistryFailure(f"failed to load {file.path}: {exc.strerror or exc}") from exc


def read_cert_folder(folder: Path) -> Trust:
    """The trust described by a folder in Docker's layout; raises RegistryFailure for half a pair."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as exc:
        raise RegistryFailure(f"failed to read {folder}: {exc.strerror}") from exc
    certificates = sorted(name.removesuffix(".cert") for name in names if name.endswith(".cert"))
    keys = {name.removesuffix(".key") for name in names if name.endswith(".key")}
    for name in certificates:
        if name not in keys:
            raise RegistryFailure(f"missing key {name}.key for client certificate {name}.cert. CA certificates must use the extension .crt")
    for name in sorted(keys.difference(certificates)):
        raise RegistryFailure(f"missing client certificate {name}.cert for key {name}.key")
    return Trust(
        authorities=tuple(PemFile.at(folder / name) for name in sorted(names) if name.endswith(".crt")),
        clients=tuple((PemFile.at(folder / f"{name}.cert"), PemFile.at(folder / f"{name}.key")) for name in certificates),
    )


@dataclass(frozen=True, slots=True)
class HostEntry:
    """One host to ask; `base` is the root of its API, empty for the registry itself."""

    base: str
    capabilities: frozenset[str]
    trust: Trust
    headers: tuple[tuple[str, str], ...]


def read_hosts(path: Path) -> list[HostEntry]:
    """The hosts of a file in order, the server last. Raises RegistryFailure, with the path, for an invalid file."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
        hosts = document.get("host", {})
        if not isinstance(hosts, dict):
            raise _Malformed("host is not a table")
        entries = [_entry(url, table, path.parent) for url, table in hosts.items()]
        return [*entries, _entry(document.get("server", ""), document, path.parent)]
    except (OSError, UnicodeError, ValueError) as exc:  # tomllib's error and _Malformed are ValueErrors
        raise RegistryFailure(f"failed to read {path}: {exc}") from exc


class _Malformed(ValueError):
    """The file is TOML, but not in containerd's format."""


def _entry(url: object, table: object, folder: Path) -> HostEntry:
    if not isinstance(url, str) or not isinstance(table, dict):
        raise _Malformed(f"{url} is not a host")
    return HostEntry(
        base=_base(url, override=_flag(table, "override_path")) if url else "",
        capabilities=_capabilities(table),
        trust=Trust(
            verified=not _flag(table, "skip_verify"),
            authorities=tuple(PemFile.at(folder / name) for name in _texts(table.get("ca", []), "ca")),
            clients=_clients(table.get("client", []), folder),
        ),
        headers=_headers(table.get("header", {})),
    )


def _base(url: str, *, override: bool) -> str:
    """The root of the API below a host's URL."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or (parts.port or 1) < 1:
        raise _Malformed(f"unable to parse server {parts.hostname or url}")
    path = posixpath.normpath(parts.path).rstrip("/") if parts.path else ""
    return f"{parts.scheme}://{parts.netloc}" + (path if override or path.endswith("/v2") else f"{path}/v2")


def _flag(table: dict[str, object], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise _Malformed(f"{key} is neither true nor false")
    return value


def _capabilities(table: dict[str, object]) -> frozenset[str]:
    found = [capability.lower() for capability in _texts(table.get("capabilities", []), "capabilities")]
    for capability in found:
        if capability not in _KNOWN_CAPABILITIES:
            raise _Malformed(f"unknown capability {capability}")
    return frozenset(found) & CAPABILITIES if found else CAPABILITIES


def _clients(value: object, folder: Path) -> tuple[tuple[PemFile, PemFile], ...]:
    """Pairs of certificate and key; a single file holds both."""
    pairs = [_texts(entry, "client") for entry in (value if isinstance(value, list) else [value])]
    if any(len(pair) not in (1, 2) for pair in pairs):
        raise _Malformed("client is neither a file nor a list of files or pairs")
    return tuple((PemFile.at(folder / pair[0]), PemFile.at(folder / pair[-1])) for pair in pairs)


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise _Malformed("header is not a table")
    headers = tuple((name, ", ".join(_texts(given, f"header {name}"))) for name, given in value.items())
    for name, text in headers:
        if not _HEADER_NAME.fullmatch(name) or not text.isascii():
            raise _Malformed(f"header {name} cannot be sent")
    return headers


def _texts(value: object, key: str) -> list[str]:
    """A string, or a list of strings."""
    given = value if isinstance(value, list) else [value]
    texts = [text for text in given if isinstance(text, str) and text.isprintable()]
    if len(texts) != len(given):
        raise _Malformed(f"{key} is neither a string nor a list of strings")
    return texts


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
    """Settings of registries: mirrors of docker.io, insecure ones, folders of certificates."""

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


def is_public(address: Address) -> bool:
    """Whether this address, and every address that it leads to, is on the public internet."""
    return all(each.is_global and not each.is_multicast for each in _reached(address))


def _reached(address: Address) -> list[Address]:
    """The address, and the IPv4 addresses that an IPv6 address may lead to through a translator or tunnel."""
    reached: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        embedded = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
        reached += [inner for inner in embedded if inner is not None]
        if address in _NAT64:
            reached.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return reached
