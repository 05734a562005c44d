"""Hosts of this service: the grammar of the Host and Origin headers, and the rules for names. Pure functions.

    Host   := host [":" port]                          RFC 9110 section 7.2
    Origin := ("http" | "https") "://" host [":" port]   as browsers write it, without the scheme's own port: RFC 6454 section 6.2
    host   := name | IPv4 address | "[" IPv6 address "]"
    name   := label *("." label), each of ASCII letters, digits, "-" and "_"

RFC 3986 allows more: a user before the host, escapes, an empty port, a trailing dot. Docker's clients send none of that. Where two
programs read it differently, a foreign name can pass for another, so text that has any of it names no host.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

_LABEL = "[A-Za-z0-9_-]+"
_AUTHORITY = re.compile(rf"(\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>{_LABEL}(\.{_LABEL})*))(:(?P<port>[0-9]{{1,5}}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Authority:
    """A host, in lower case or in the usual notation of its address, and its port if there is one."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Authority:
        """Read `host[:port]`; raises ValueError for anything else."""
        match = _AUTHORITY.fullmatch(text)
        port = int(match["port"]) if match and match["port"] else None
        if match is None or (port is not None and not 1 <= port <= 65535):
            raise ValueError("must be a host, with or without a port")
        if match["ipv6"]:
            return cls(str(ipaddress.IPv6Address(match["ipv6"])), port)
        return cls(match["name"].lower(), port)

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def is_known_host(header: str, names: Collection[str]) -> bool:
    """Whether a request over plain TCP with this Host (empty if missing) was meant for this service, which also has these names.

    After DNS rebinding, a page's requests arrive with the name of the page's own site in Host. That name is never empty. It is never an
    address, which no name server can redirect, and never a name that no site on the internet can have.
    """
    if not header:
        return True
    try:
        authority = Authority.parse(header)
    except ValueError:
        return False
    return authority.is_address or _is_never_a_site(authority.host) or _is_listed(authority.host, names)


def is_own_origin(header: str, host: str, schemes: Collection[str], names: Collection[str]) -> bool:
    """Whether this Origin is the request's Host, including the port, over one of these schemes, or one of the named hosts.

    `null`, the origin of pages that hide theirs, is never accepted.
    """
    scheme, _, rest = header.lower().partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    try:
        page = Authority.parse(rest)
        if default is not None and _is_listed(page.host, names):
            return True
        asked = Authority.parse(host)
    except ValueError:
        return False
    return scheme in schemes and (page.host, page.port or default) == (asked.host, asked.port or default)


def _is_never_a_site(name: str) -> bool:
    """Whether no site on the internet can have this name.

    A name without a dot would be a top-level domain, and ICANN does not allow these to have addresses. Resolvers look it up in hosts files,
    among the containers of a network and in search domains, so the network's operator controls it, not a web site. `localhost` (RFC 6761),
    `internal` (ICANN, 2024) and `example.com` (RFC 6761) are reserved permanently. Clients send `api.moby.localhost` through forwarded
    sockets, `host.docker.internal` from containers, and `docker.example.com` through ssh.
    """
    return "." not in name or name.endswith((".localhost", ".internal")) or name == "docker.example.com"


def _is_listed(host: str, names: Collection[str]) -> bool:
    """Whether the list contains this host, a `*.DOMAIN` above it, or `*`."""
    return "*" in names or host in names or host.endswith(tuple(name[1:] for name in names if name.startswith("*.")))
