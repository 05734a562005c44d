"""Whether settings that are valid by themselves go together."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

from stowage.app.setting_parsers import Bind
from stowage.app.setting_texts import ConfigError


def check_addresses(
    binds: tuple[Bind, ...], health_binds: tuple[Bind, ...], *, tls: tuple[Path | None, ...], allow_insecure_tcp: bool
) -> None:
    """Refuse an incomplete TLS configuration (certificate, key, authority), and addresses that are open to everyone."""
    if len({file is None for file in tls}) == 2:
        raise ConfigError("STOWAGE_TLS_CERT, STOWAGE_TLS_KEY and STOWAGE_TLS_CA must be set together.")
    _check_binds(binds, health_binds)
    for bind in binds:
        if not (bind.is_private or all(tls) or allow_insecure_tcp):
            raise ConfigError(
                f"STOWAGE_BIND: {bind} can be reached from other machines; set STOWAGE_TLS_CERT, STOWAGE_TLS_KEY and STOWAGE_TLS_CA "
                "so that clients are verified, or STOWAGE_ALLOW_INSECURE_TCP=1 if everyone there may own the store."
            )


def _check_binds(binds: tuple[Bind, ...], health_binds: tuple[Bind, ...]) -> None:
    """Raise ConfigError if an address has two purposes, or is one of the addresses that a wildcard with the same port stands for."""
    for bind in set(binds) & set(health_binds):
        if bind.path or bind.port:  # the system chooses another port for each 0
            raise ConfigError(f"STOWAGE_HEALTH_BIND: {bind} is also an address of STOWAGE_BIND.")
    for wildcard, bind in permutations((*binds, *health_binds), 2):
        if wildcard != bind and _covers(wildcard, bind):
            setting = "STOWAGE_BIND" if bind in binds and wildcard in binds else "STOWAGE_HEALTH_BIND"
            raise ConfigError(f"{setting}: {wildcard} stands for every address, {bind} too; give one of them another port.")


def _covers(wildcard: Bind, bind: Bind) -> bool:
    """Linux takes IPv4 addresses for those of the IPv6 wildcard too (ipv6(7), IPV6_V6ONLY)."""
    return wildcard.port == bind.port > 0 and (wildcard.host == "::" or (wildcard.host == "0.0.0.0" and ":" not in bind.host))
