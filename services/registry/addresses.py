"""Which addresses are reachable from the whole internet, and which only from a local network."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


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
