"""Port specifications of EXPOSE.

    spec      := [[ip ":"] [host-ports] ":"] ports ["/" protocol]
    ports     := port | port "-" port
    protocol  := "tcp" | "udp" | "sctp"       any case; tcp when left out

Address and host ports are checked and dropped. A range stays a range until the end, since a few bytes of text may name every port many
times. Source: moby daemon/builder/dockerfile/dispatchers.go (parsePortSpec).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from stowage.services.errors import InvalidParameter
from stowage.services.oci.gojson import quote

_PORT = re.compile(r"[0-9]+")
_MAX_PORT = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True, order=True)
class Ports:
    """The ports from `first` to `last` of one protocol."""

    protocol: str
    first: int
    last: int


def parse_ports(spec: str) -> Ports:
    """The ports that the specification names; raises InvalidParameter."""
    address, host, container = _split(spec)
    ports, _, protocol = container.partition("/")
    if not ports:
        raise InvalidParameter(f"no port specified: {spec}<empty>")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise InvalidParameter(f"invalid proto: {protocol}")
    _check_address(address)
    exposed = _parse_range(ports, "containerPort")
    if host:
        published = _parse_range(host, "hostPort")
        if len(exposed) > 1 and len(published) != len(exposed):
            raise InvalidParameter(f"invalid ranges specified for container and host Ports: {ports} and {host}")
    return Ports(protocol, exposed[0], exposed[-1])


def count_ports(ranges: Iterable[Ports]) -> int:
    """How many ports `list_ports` generates."""
    return sum(len(ports) for _, ports in _apart(ranges))


def list_ports(ranges: Iterable[Ports]) -> list[str]:
    """Every `port/protocol` of these ranges once, ordered as text; a port is generated once, however many ranges contain it."""
    return sorted(f"{port}/{protocol}" for protocol, ports in _apart(ranges) for port in ports)


def _apart(ranges: Iterable[Ports]) -> Iterator[tuple[str, range]]:
    """The same ports in ranges that do not overlap."""
    for protocol, among in groupby(sorted(ranges), key=lambda ports: ports.protocol):
        reached = -1
        for ports in among:
            yield protocol, range(max(ports.first, reached + 1), ports.last + 1)
            reached = max(reached, ports.last)


def _split(spec: str) -> tuple[str, str, str]:
    head, _, container = spec.rpartition(":")
    address, _, host = head.rpartition(":")
    return address, host, container


def _check_address(address: str) -> None:
    bare = address
    if address.startswith("["):
        if not address.endswith("]"):
            raise InvalidParameter(f"invalid IP address {address}: address {address}:: missing ']' in address")
        bare = address[1:-1]
    try:
        if bare:
            ipaddress.ip_address(bare)
    except ValueError as exc:
        raise InvalidParameter(f"invalid IP address: ParseAddr({quote(bare)}): unable to parse IP") from exc


def _parse_range(text: str, what: str) -> range:
    first, dash, last = text.partition("-")
    start = _parse_port(first)
    end = _parse_port(last) if dash else start
    if start is None or end is None or end < start:
        raise InvalidParameter(f"invalid {what}: {text}")
    return range(start, end + 1)


def _parse_port(text: str) -> int | None:
    if not _PORT.fullmatch(text):
        return None
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) <= 5 and int(digits) <= _MAX_PORT else None
