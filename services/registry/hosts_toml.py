"""containerd's hosts.toml: which hosts are asked for a registry's content, in which order, and how.

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

Source: containerd docs/hosts.md, core/remotes/docker/config/hosts.go.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stowage.services.errors import RegistryFailure
from stowage.services.registry.certs import PemFile, Trust

CAPABILITIES = frozenset({"pull", "resolve", "push"})
_KNOWN_CAPABILITIES = CAPABILITIES | {"referrers"}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.1."""


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
