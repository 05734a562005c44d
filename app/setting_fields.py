"""Fields of settings for marshmallow. Their errors are the ends of sentences, "must be ...".

Where marshmallow has no such field, a function reads the text, and raises ValueError.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, validate

from stowage.app.origin import Authority
from stowage.blueprints.versioning import MAX_API_VERSION, MIN_API_VERSION, ApiVersion
from stowage.services.content.bucket import BucketAddress
from stowage.services.errors import EngineError
from stowage.services.oci.platform import Platform, amd64_level, read_flags

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_REGISTRY = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_ONLY_PORT = re.compile(r"(?:tcp://)?:?([0-9]{1,5})")
_ONLY_HOST = re.compile(r"(?:tcp://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):?")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
SOCKET_PATH_BYTES = 107
"""Linux has 108 bytes for the path of a unix socket and its terminating null byte (unix(7))."""


class Parsed(fields.Field[Any]):
    """A text that a function reads."""

    def __init__(self, parse: Callable[[str], object], **metadata: Any) -> None:
        super().__init__(**metadata)
        self._parse = parse

    def _deserialize(self, value: str, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> object:
        try:
            return self._parse(value)
        except ValueError as exc:
            raise ValidationError(str(exc)) from None


class Whole(fields.Integer):
    """A whole number within bounds, written without sign, space and zeros before it."""

    def __init__(self, least: int = 0, most: int | None = None) -> None:
        self._bounds = f" from {least} to {most}" if most else f" of at least {least}" if least else ""
        super().__init__(validate=validate.Range(least, most, error=f"must be a whole number{self._bounds}"))

    def _deserialize(self, value: str, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> int:
        if not _WHOLE.fullmatch(value):
            raise ValidationError(f"must be a whole number{self._bounds}")
        return super()._deserialize(value, attr, data, **more)


class Listed(Parsed):
    """A comma-separated list, without empty parts, each of which a function reads."""

    def _deserialize(self, value: str, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> tuple[Any, ...]:
        parts = (part.strip() for part in value.split(","))
        return tuple(super(Listed, self)._deserialize(part, attr, data, **more) for part in parts if part)


class Binds(Listed):
    """Addresses, each once; empty text means the default."""

    def __init__(self) -> None:
        super().__init__(Bind.parse)

    def _deserialize(self, value: str, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> tuple[Bind, ...]:
        binds = super()._deserialize(value, attr, data, **more)
        if value and not binds:
            raise ValidationError("must name at least one address")
        if len(set(binds)) < len(binds):
            raise ValidationError("must name each address once")
        return binds


class Setting(NamedTuple):
    """An environment variable: its default text, its meaning, and the field that reads its text."""

    name: str
    default: str
    meaning: str
    field: fields.Field[Any]

    def of(self, field_name: str) -> Setting:
        """The setting of this field: it is named as the field, unless it has a name."""
        return self._replace(name=self.name or f"STOWAGE_{field_name.upper()}")


def setting(default: str, meaning: str, read_by: fields.Field[Any], *, variable: str = "") -> Any:
    """A field of Config set by an environment variable: STOWAGE_ and the field's name, unless `variable` names another."""
    return field(metadata={"setting": Setting(variable, default, meaning, read_by)})


def flag() -> fields.Boolean:
    """1 or 0."""
    return fields.Boolean(truthy={"1"}, falsy={"0"}, error_messages={"invalid": "must be 0 or 1"})


def one_of(*words: str) -> validate.OneOf:
    """One of these words, of which one may be empty."""
    *others, last = filter(None, words)
    return validate.OneOf(words, error=f"must be {', '.join(others)} or {last}")


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

    def covers(self, bind: Bind) -> bool:
        """Whether this is a wildcard for that address: Linux takes IPv4 addresses for those of the IPv6 wildcard too (ipv6(7),
        IPV6_V6ONLY).
        """
        return self.port == bind.port > 0 and (self.host == "::" or (self.host == "0.0.0.0" and ":" not in bind.host))

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


def _socket_path(text: str) -> Path:
    """The absolute path of a unix socket, which is what is bound and measured."""
    path = Path(text).absolute()
    if (length := len(os.fsencode(path))) > SOCKET_PATH_BYTES:
        raise ValueError(f"must have socket paths of at most {SOCKET_PATH_BYTES} bytes; {path} has {length}")
    return path


def folder(text: str) -> Path:
    """A folder, made absolute."""
    if not text:
        raise ValueError("must be a folder")
    return Path(text).absolute()


def file(text: str) -> Path | None:
    """An existing file; empty text means none."""
    if text and not Path(text).is_file():
        raise ValueError(f"must be a file; {text} is not one")
    return Path(text).absolute() if text else None


def certificate_folder(text: str) -> Path:
    """The absolute path of a folder, which need not exist."""
    if not text.startswith("/"):
        raise ValueError("must be a comma-separated list of absolute paths")
    return Path(text)


def database(text: str) -> str:
    """A URL of SQLite or PostgreSQL; empty text means none. The errors do not repeat the text, since URLs may hold passwords."""
    if text and not re.fullmatch(r"sqlite:///(?!:memory:)[^?]+|postgres(ql)?(\+psycopg)?://\S+", text):
        raise ValueError("must be sqlite:///PATH (without parameters) or postgresql://USER@HOST/DATABASE; no other database is supported")
    if text.startswith("postgres") and text.partition("?")[0].count("@") > 1:
        raise ValueError("must have special characters of the password as %XX, for instance %40 for @")
    return text


def content(text: str) -> Path | BucketAddress | None:
    """A folder, a file:// URL of one, or an s3:// URL; empty text means none."""
    if not text:
        return None
    if text.startswith("s3://"):
        return BucketAddress.parse(text)
    path = text.removeprefix("file://")
    if "://" in path or not path:
        raise ValueError("must be a folder, file:///FOLDER or s3://BUCKET/PREFIX; no other content store is supported")
    return Path(path).absolute()


def host_pattern(text: str) -> str:
    """HOST, HOST:PORT or *.DOMAIN, in lower case."""
    if not _REGISTRY.fullmatch(text.lower().removeprefix("*.")):
        raise ValueError(f"must be a comma-separated list of HOST, HOST:PORT and *.DOMAIN; {text.lower()} is none of these")
    return text.lower()


def own_name(text: str) -> str:
    """HOST, *.DOMAIN or *, with hosts normalized as in Authority."""
    if text == "*":
        return text
    name = text.removeprefix("*.")
    try:
        authority = Authority.parse(name)
    except ValueError:
        authority = None
    if authority is None or authority.port is not None or (authority.is_address and name != text):
        raise ValueError(f"must be a comma-separated list of HOST, *.DOMAIN and *; {text} is none of these")
    return f"*.{authority.host}" if name != text else authority.host


def insecure_registry(text: str) -> str:
    """A network such as 127.0.0.0/8, HOST, or HOST:PORT."""
    if "/" in text and not _is_network(text):
        raise ValueError(f"must be a comma-separated list of networks, HOST and HOST:PORT; {text} is not a network")
    if "/" not in text and not _REGISTRY.fullmatch(text):
        raise ValueError(f"must be a comma-separated list of networks, HOST and HOST:PORT; {text} is none of these")
    return text


def import_source(text: str) -> str:
    """`public`, or a network such as 10.0.0.0/8."""
    if text != "public" and not _is_network(text):
        raise ValueError(f"must be a comma-separated list of networks and the word public; {text} is neither")
    return text


def mirror(text: str) -> str:
    """A plain URL, ending in one slash, as dockerd shows it."""
    if not _is_plain_url(text):
        raise ValueError("must be a comma-separated list of http:// or https:// URLs without query, fragment and credentials")
    return text.rstrip("/") + "/"


def search_index(text: str) -> str:
    """A plain URL; empty text means the registry client's default."""
    if text and not _is_plain_url(text):
        raise ValueError("must be an http:// or https:// URL without query, fragment and credentials")
    return text


def platform(text: str) -> Platform:
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


def api_version(text: str) -> ApiVersion:
    """An API version within the range that can be served."""
    version = ApiVersion.parse(text) if re.fullmatch(r"[0-9]\.[1-9][0-9]", text) else None
    if version is None or not MIN_API_VERSION <= version <= MAX_API_VERSION:
        raise ValueError(f"must be an API version from {MIN_API_VERSION} to {MAX_API_VERSION}")
    return version


def _is_plain_url(text: str) -> bool:
    """Whether this is an http or https URL without query, fragment and credentials."""
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment and "@" not in parts.netloc


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
