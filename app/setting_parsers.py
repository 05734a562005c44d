"""Parsers of the values of settings. Each raises ValueError with the end of a sentence, "must be ..."."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from stowage.app.origin import Authority
from stowage.blueprints.versioning import MAX_API_VERSION, MIN_API_VERSION, ApiVersion
from stowage.services.content.bucket_address import BucketAddress
from stowage.services.errors import EngineError
from stowage.services.oci.platform import Platform, amd64_level, read_flags

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_REGISTRY = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_ONLY_PORT = re.compile(r"(?:tcp://)?:?([0-9]{1,5})")
_ONLY_HOST = re.compile(r"(?:tcp://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):?")
_MOST = 1024
SOCKET_PATH_BYTES = 107
"""Linux has 108 bytes for the path of a unix socket and its terminating null byte (unix(7))."""


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to listen on: a unix socket's `path`, or `host` and `port`."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Read `unix:PATH` or `HOST:PORT`, also with `//` as in DOCKER_HOST: `unix:///PATH` and `tcp://HOST:PORT`."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:").removeprefix("//")
            if path:
                return cls(path=_socket_path(path))
        match = _HOST_PORT.fullmatch(text.removeprefix("tcp://"))
        if match is None or int(match["port"]) > 65535:
            raise ValueError(f"must be a comma-separated list of unix:PATH and HOST:PORT{_hint(text)}")
        return cls(host=match["host"].strip("[]"), port=int(match["port"]))

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _hint(text: str) -> str:
    """What to write instead of an address that people write elsewhere, or nothing if that is not clear."""
    if text.startswith("unix:"):
        return ", and a unix socket needs a path"
    if text.startswith("/"):
        return f"; write unix:{text}"
    if port := _ONLY_PORT.fullmatch(text):
        return f"; write 127.0.0.1:{port[1]} for this machine alone, or 0.0.0.0:{port[1]} for every address"
    if host := _ONLY_HOST.fullmatch(text):
        return f"; write {host[1]}:2375, or another port"
    return f", and {text} is neither" if text else ""


def parse_binds(text: str) -> tuple[Bind, ...]:
    """Addresses; empty text means the default."""
    binds = tuple(Bind.parse(part) for part in split_list(text))
    if text and not binds:
        raise ValueError("must name at least one address")
    if len(set(binds)) < len(binds):
        raise ValueError("must name each address once")
    return binds


def _socket_path(text: str) -> Path:
    """The absolute path of a unix socket, which is what is bound and measured."""
    path = Path(text).absolute()
    if (length := len(os.fsencode(path))) > SOCKET_PATH_BYTES:
        raise ValueError(f"must have socket paths of at most {SOCKET_PATH_BYTES} bytes; {path} has {length}")
    return path


def split_list(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list, without empty ones."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_flag(text: str) -> bool:
    """1 or 0."""
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def parse_level(text: str) -> str:
    """The least severe level that is logged."""
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("must be debug, info, warning or error")
    return text.lower()


def parse_metrics(text: str) -> str:
    """Where metrics are."""
    if text not in ("off", "health", "on"):
        raise ValueError("must be off, health or on")
    return text


def parse_page(text: str) -> str:
    """What the page may do; empty text means that it depends on the addresses."""
    if text not in ("", "off", "read", "write"):
        raise ValueError("must be off, read or write")
    return text


def parse_format(text: str) -> str:
    """How the log is written."""
    if text not in ("text", "json"):
        raise ValueError("must be text or json")
    return text


def parse_count(text: str) -> int:
    """A positive whole number."""
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise ValueError("must be a whole number of at least 1")
    return int(text)


def parse_amount(text: str) -> int:
    """A whole number, also 0."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", text):
        raise ValueError("must be a whole number")
    return int(text)


def parse_small_count(text: str) -> int:
    """A number of processes, threads or transfers."""
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text) or int(text) > _MOST:
        raise ValueError(f"must be a whole number from 1 to {_MOST}")
    return int(text)


def parse_folder(text: str) -> Path:
    """A folder, made absolute."""
    if not text:
        raise ValueError("must be a folder")
    return Path(text).absolute()


def parse_file(text: str) -> Path | None:
    """An existing file; empty text means none."""
    if text and not Path(text).is_file():
        raise ValueError(f"must be a file; {text} is not one")
    return Path(text).absolute() if text else None


def parse_database(text: str) -> str:
    """A URL of SQLite or PostgreSQL; empty text means none. The errors do not repeat the text, since URLs may hold passwords."""
    if text and not re.fullmatch(r"sqlite:///(?!:memory:)[^?]+|postgres(ql)?(\+psycopg)?://\S+", text):
        raise ValueError("must be sqlite:///PATH (without parameters) or postgresql://USER@HOST/DATABASE; no other database is supported")
    if text.startswith("postgres") and text.partition("?")[0].count("@") > 1:
        raise ValueError("must have special characters of the password as %XX, for instance %40 for @")
    return text


def parse_content(text: str) -> Path | BucketAddress | None:
    """A folder, a file:// URL of one, or an s3:// URL; empty text means none."""
    if not text:
        return None
    if text.startswith("s3://"):
        return BucketAddress.parse(text)
    path = text.removeprefix("file://")
    if "://" in path or not path:
        raise ValueError("must be a folder, file:///FOLDER or s3://BUCKET/PREFIX; no other content store is supported")
    return Path(path).absolute()


def parse_folders(text: str) -> tuple[Path, ...]:
    """Absolute paths of folders, which need not exist."""
    folders = tuple(Path(part) for part in split_list(text))
    if not all(folder.is_absolute() for folder in folders):
        raise ValueError("must be a comma-separated list of absolute paths")
    return folders


def parse_hosts(text: str) -> tuple[str, ...]:
    """HOST, HOST:PORT and *.DOMAIN."""
    entries = split_list(text.lower())
    for entry in entries:
        if not _REGISTRY.fullmatch(entry.removeprefix("*.")):
            raise ValueError(f"must be a comma-separated list of HOST, HOST:PORT and *.DOMAIN; {entry} is none of these")
    return entries


def parse_names(text: str) -> tuple[str, ...]:
    """HOST, *.DOMAIN and *, with hosts normalized as in Authority."""
    return tuple(entry if entry == "*" else _parse_name(entry) for entry in split_list(text))


def _parse_name(entry: str) -> str:
    name = entry.removeprefix("*.")
    try:
        authority = Authority.parse(name)
    except ValueError:
        authority = None
    if authority is None or authority.port is not None or (authority.is_address and name != entry):
        raise ValueError(f"must be a comma-separated list of HOST, *.DOMAIN and *; {entry} is none of these")
    return f"*.{authority.host}" if name != entry else authority.host


def parse_insecure(text: str) -> tuple[str, ...]:
    """Networks such as 127.0.0.0/8, hosts, and HOST:PORT."""
    entries = split_list(text)
    for entry in entries:
        if "/" in entry:
            _require_network(entry)
        elif not _REGISTRY.fullmatch(entry):
            raise ValueError(f"must be a comma-separated list of networks, HOST and HOST:PORT; {entry} is none of these")
    return entries


def _require_network(entry: str) -> None:
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        raise ValueError(f"must be a comma-separated list of networks, HOST and HOST:PORT; {entry} is not a network") from None


def parse_sources(text: str) -> tuple[str, ...]:
    """`public` and networks such as 10.0.0.0/8."""
    entries = split_list(text)
    for entry in entries:
        try:
            if entry != "public":
                ipaddress.ip_network(entry)
        except ValueError:
            raise ValueError(f"must be a comma-separated list of networks and the word public; {entry} is neither") from None
    return entries


def parse_mirrors(text: str) -> tuple[str, ...]:
    """http:// and https:// URLs without query, fragment and credentials, each ending in one slash, as dockerd shows them."""
    mirrors = split_list(text)
    for mirror in mirrors:
        if not _is_plain_url(mirror):
            raise ValueError("must be a comma-separated list of http:// or https:// URLs without query, fragment and credentials")
    return tuple(mirror.rstrip("/") + "/" for mirror in mirrors)


def parse_index(text: str) -> str:
    """An http:// or https:// URL without query, fragment and credentials; empty text means the registry client's default."""
    if text and not _is_plain_url(text):
        raise ValueError("must be an http:// or https:// URL without query, fragment and credentials")
    return text


def parse_platform(text: str) -> Platform:
    """`os/arch` or `os/arch/variant`; empty text means the host's, which on amd64 includes the level of its CPU (moby
    daemon/containerd/platform_matchers.go).
    """
    if not text:
        host = Platform.host()
        return replace(host, variant=amd64_level(read_flags())) if host.architecture == "amd64" else host
    try:
        return Platform.parse(text)
    except EngineError as exc:
        raise ValueError(f"must be OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT: {exc}") from None


def parse_version(text: str) -> ApiVersion:
    """An API version within the range that can be served."""
    version = ApiVersion.parse(text) if re.fullmatch(r"[0-9]\.[1-9][0-9]", text) else None
    if version is None or not MIN_API_VERSION <= version <= MAX_API_VERSION:
        raise ValueError(f"must be an API version from {MIN_API_VERSION} to {MAX_API_VERSION}")
    return version


def _is_plain_url(text: str) -> bool:
    """Whether this is an http or https URL without query, fragment and credentials."""
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment and "@" not in parts.netloc
