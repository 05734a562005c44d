"""All settings, read from environment variables named STOWAGE_*.

An invalid value, or a STOWAGE_ variable that is not a setting, is refused with a sentence that names it (ConfigError). Two settings are
also options of the command line, which take precedence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

from marshmallow import Schema, ValidationError, fields

from stowage.app import setting_fields as read
from stowage.app.setting_fields import Bind, Binds, Listed, Parsed, Whole, setting
from stowage.blueprints.versioning import ApiVersion
from stowage.services.content.bucket import BucketAddress
from stowage.services.oci.platform import Platform

CONFIG = "stowage.config"
"""Key of the application's extensions: its Config."""

OPTIONS = {"STOWAGE_ROOT": "--root", "STOWAGE_BIND": "--bind"}
"""The settings that are also options of the command line."""

_DATABASE_SECRETS = re.compile(r"(?<=://)\S*@|(?<=\?)\S+")
_SECRETS = re.compile(r"(?<!file://)(?<!sqlite://)(?<=://)[^\s,]*@|(?<![^\s,])[^\s,/]+:[^\s,/]*@|(?<=\?)[^\s,]+")


class ConfigError(Exception):
    """A setting is invalid; `str(error)` is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings as values; `Config.from_environ()` checks that they are consistent."""

    root: Path = setting("./var", "Folder of the store: database, blobs, partial blobs, lock.", Parsed(read.folder))
    bind: tuple[Bind, ...] = setting(
        "",
        "Comma-separated addresses, `unix:PATH` or `HOST:PORT`, also written `unix:///PATH` and `tcp://HOST:PORT`. By default "
        "`stowage.sock` in the root. A unix socket gets mode 0600; its absolute path has at most 107 bytes. An address that other "
        "machines reach is refused unless client certificates are verified or `STOWAGE_ALLOW_INSECURE_TCP` is 1.",
        Binds(),
    )
    health_bind: tuple[Bind, ...] = setting(
        "",
        "Addresses like those of `STOWAGE_BIND` that answer `/healthz`, `/readyz` and `/metrics` and nothing else: in plain HTTP, to "
        "anyone who reaches them. A unix socket gets mode 0666. See [deployment.md](deployment.md#health).",
        Binds(),
    )
    allow_insecure_tcp: bool = setting(
        "0",
        "1 allows addresses that other machines can reach, and requests from other machines under any server, without authentication: "
        "anyone who reaches them owns the store.",
        read.flag(),
    )
    tls_cert: Path | None = setting("", "Certificate of the service (PEM). With it every TCP address speaks TLS.", Parsed(read.file))
    tls_key: Path | None = setting("", "Private key of that certificate (PEM).", Parsed(read.file))
    tls_ca: Path | None = setting("", "Authority (PEM) that must have signed every client's certificate.", Parsed(read.file))
    hosts: tuple[str, ...] = setting(
        "",
        "Comma-separated `HOST`, `*.DOMAIN` and `*` (any): other names of this service, and hosts whose web pages may use it. Over "
        "plain TCP, most `Host` names with dots are refused unless they are listed here. See "
        "[deployment.md](deployment.md#web-pages).",
        Listed(read.own_name),
    )
    database: str = setting(
        "",
        "Database of names and metadata: `sqlite:///PATH`, on a local file system, or `postgresql://USER@HOST/DATABASE`, any URL that "
        "psql takes; see [deployment.md](deployment.md#postgresql). By default `stowage.db` in the root.",
        Parsed(read.database),
        variable="STOWAGE_DATABASE_URL",
    )
    database_timeout: int = setting(
        "30",
        "Seconds that a change waits for others, and that a statement may take on PostgreSQL. Connecting may take a third of it, and so "
        "may a pause within a change; a whole change may take twice as long.",
        Whole(1),
    )
    content: Path | BucketAddress | None = setting(
        "",
        "Folder of the blobs, as a path or `file:///FOLDER`, by default the root. Or `s3://BUCKET/PREFIX?endpoint=URL&region=REGION`; "
        "see [deployment.md](deployment.md#a-bucket).",
        Parsed(read.content),
        variable="STOWAGE_CONTENT_URL",
    )
    content_timeout: int = setting("30", "Seconds that a request to the bucket may take, and as long that it is tried again.", Whole(1))
    upload_memory: int = setting(
        "201326592",
        "Bytes that a process may keep in memory for uploads to the bucket; each upload of more than 8 MiB takes 24 MiB of them.",
        Whole(1),
    )
    spool_bytes: int = setting("68719476736", "Bytes that partial blobs may take on the disk of the root.", Whole(1))
    keep_removed_days: int = setting(
        "0", "Days for which the bucket keeps what nothing needs any more, for older backups of the database.", Whole()
    )
    log_level: str = setting(
        "info",
        "What is logged: `debug`, `info`, `warning` or `error`. From `warning` on the log has no lines of requests but those that failed; "
        "`debug` adds the requests to registries. See [deployment.md](deployment.md#the-log).",
        Parsed(str.lower, validate=read.one_of("debug", "info", "warning", "error")),
    )
    log_format: str = setting(
        "text", "`text`, or `json`: each line of the log is a JSON object.", fields.String(validate=read.one_of("text", "json"))
    )
    slow_request: int = setting(
        "10",
        "Seconds after which the first byte of an answer is late: the request's line in the log is then a warning. Requests with a body do "
        "not count, since their clients decide how long they take. 0 is no limit.",
        Whole(),
    )
    metrics: str = setting(
        "health",
        "Who gets `/metrics`: `off`, `health` (the addresses of `STOWAGE_HEALTH_BIND`), or `on` (those of `STOWAGE_BIND` too, by the rules "
        "for all requests there). See [metrics.md](metrics.md).",
        fields.String(validate=read.one_of("off", "health", "on")),
    )
    ui: str = setting(
        "",
        "The page for people at `/ui/`, and the facts for scripts that it is made of: `off`, `read`, or `write`, with which the page can "
        "also tag, delete and prune. By default `read` if every address of `STOWAGE_BIND` is a unix socket or a loopback address, and "
        "otherwise `off`. See [page.md](page.md).",
        fields.String(validate=read.one_of("", "off", "read", "write")),
    )
    least_free: int = setting(
        "268435456",
        "Bytes. With less free space for blobs, `/readyz` answers 503 and `docker info` has a warning. 0 is no limit.",
        Whole(),
    )
    workers: int = setting("2", "Worker processes.", Whole(1, 1024))
    threads: int = setting(
        "64",
        "Threads of each worker for uploads, downloads and streams. That many run at once; a quarter of them may listen to events. "
        "Short requests have threads of their own. A quarter, and half of the listeners, are for the unix socket, if any.",
        Whole(1, 1024),
    )
    min_api_version: ApiVersion = setting("1.24", "Lowest API version that is served.", Parsed(read.api_version))
    insecure_registries: tuple[str, ...] = setting(
        "127.0.0.0/8,::1/128",
        "Comma-separated networks, `HOST` and `HOST:PORT` of registries that may be used over plain HTTP or unverified TLS.",
        Listed(read.insecure_registry),
    )
    registry_mirrors: tuple[str, ...] = setting(
        "",
        "Comma-separated URLs of mirrors of docker.io, tried in order before it.",
        Listed(read.mirror),
    )
    certs_dirs: tuple[Path, ...] = setting(
        "/etc/stowage/certs.d,/etc/docker/certs.d,/etc/containerd/certs.d",
        "Comma-separated folders with a folder for each registry: certificates as Docker has them, or containerd's `hosts.toml`. "
        "The first folder that has one for a registry is used; see [registries.md](registries.md).",
        Listed(read.certificate_folder),
    )
    auth_realms: tuple[str, ...] = setting(
        "",
        "Comma-separated `HOST`, `HOST:PORT` and `*.DOMAIN`: the token servers that registries may name besides themselves, "
        "whatever their addresses. If empty, registries may name any server that is reached over TLS, but only a registry in a private "
        "network may name one in a private network.",
        Listed(read.host_pattern),
    )
    foreign_layer_hosts: tuple[str, ...] = setting(
        "",
        "Comma-separated `HOST`, `HOST:PORT` and `*.DOMAIN`: hosts from which a layer that a manifest names by URL may be fetched if "
        "the registry does not have it. If empty, such layers are not fetched.",
        Listed(read.host_pattern),
    )
    stall_seconds: int = setting(
        "60",
        "Seconds for which a registry may send or accept nothing before the attempt is abandoned and the transfer is tried again.",
        Whole(1),
    )
    download_attempts: int = setting(
        "5",
        "How many times in a row a download or an upload is tried without any progress.",
        Whole(1),
    )
    least_rate: int = setting(
        "1024",
        "Bytes a second that count as progress. A download that is slower over `STOWAGE_STALL_SECONDS` uses up an attempt, and no "
        "request waits for a slower transfer or load of the same blob.",
        Whole(1),
    )
    client_idle_seconds: int = setting(
        "3600",
        "Seconds for which a client may send nothing of a request's body, or read nothing of an answer, before it is disconnected.",
        Whole(1),
    )
    search_index: str = setting(
        "",
        "URL of the index that `docker search` asks if the term names no registry. By default Docker Hub's.",
        Parsed(read.search_index),
    )
    platform: Platform = setting(
        "",
        "Platform preferred if an image has several, `OS/ARCHITECTURE[/VARIANT]`. By default the host's. On amd64 that includes the "
        "level of its CPU: of amd64 and amd64/v3 a pull takes v3 if the CPU can run it, as Docker does.",
        Parsed(read.platform),
    )
    import_urls: tuple[str, ...] = setting(
        "",
        "Comma-separated addresses from which `docker import URL` may fetch: `public` for every public address, and networks such "
        "as `10.0.0.0/8`. If empty, importing from URLs is switched off.",
        Listed(read.import_source),
    )
    decompression_ratio: int = setting(
        "200",
        "A compressed stream is refused when it inflates to more than this many times its size and to more than "
        "`STOWAGE_DECOMPRESSION_BYTES`.",
        Whole(1),
    )
    decompression_bytes: int = setting(
        "1073741824",
        "Bytes that any stream may inflate to, and all streams of a load together, whatever the ratio.",
        Whole(1),
    )
    request_memory: int = setting(
        "536870912",
        "Bytes that a worker's requests may keep in memory at once; a quarter is for the unix socket, if there is one. The window of a "
        "compressed stream counts (usually 9 MiB, 128 for `xz -9` and `zstd --long`), and so does what a load keeps of documents, "
        "small members and images, and what large manifests, searches and attestations take, beyond 1 MiB. Who finds too little free "
        "waits 10 seconds.",
        Whole(1),
    )
    listed_entries: int = setting(
        "500000",
        "How many files of a layer are listed by `/stowage/images/NAME/files` and the page; a longer list is cut. An image whose layers "
        "have more together is only shown layer by layer.",
        Whole(1),
    )
    listing_seconds: int = setting(
        "120",
        "Seconds that a request may take to read the files of layers, all together, at the first look into them.",
        Whole(1),
    )
    listing_bytes: int = setting(
        "268435456",
        "Bytes that the lists of files of all layers may take in the database. Beyond them the oldest are removed, and read again from the "
        "layer when somebody looks. 0 keeps none.",
        Whole(),
    )
    family_images: int = setting(
        "20000",
        "How many images the page and `/stowage/family` compare at once to show which are built on which. A pattern, or one image, is "
        "compared with the images that have its first layer. `stowage tree` has no limit.",
        Whole(1),
    )
    event_history: int = setting("4096", "How many events are kept for `docker events --since`.", Whole(1))
    concurrent_downloads: int = setting("3", "Layers that one pull fetches at once.", Whole(1, 1024))
    concurrent_uploads: int = setting("5", "Blobs that one push sends at once.", Whole(1, 1024))

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ, options: Mapping[str, str] | None = None) -> Config:
        """Read every setting, from the options of the command line by their variable's name or else from the environment.

        Raises ConfigError.
        """
        values, unknown, problems = read_settings(environ, options or {})
        if unknown:
            raise ConfigError(f"{unknown[0]} is not a setting of Stowage; `stowage settings` lists them.")
        if problems:
            raise ConfigError(problems[0])
        config = cls(**values)
        _check_addresses(config)
        return config if config.bind else replace(config, bind=(Bind(path=config.root / "stowage.sock"),))

    @property
    def tls(self) -> bool:
        """Whether TCP addresses speak TLS with verified clients."""
        return self.tls_cert is not None

    @property
    def has_metrics(self) -> bool:
        """Whether there are metrics that anyone can get."""
        return self.metrics == "on" or (self.metrics == "health" and bool(self.health_bind))

    @property
    def page(self) -> str:
        """Whether there is a page, and what it may do: off, read or write."""
        return self.ui or ("read" if all(bind.is_private for bind in self.bind) else "off")

    @property
    def database_url(self) -> str:
        """The database, by default in the root."""
        return self.database or f"sqlite:///{self.root}/stowage.db"

    @property
    def database_file(self) -> Path | None:
        """The file of the database, if it is one."""
        return Path(self.database_url.removeprefix("sqlite:///")) if self.database_url.startswith("sqlite:") else None

    @property
    def database_name(self) -> str:
        """The database as it may be shown: its file, or its URL without secrets."""
        return str(self.database_file or mask_secrets(self.database_url))

    @property
    def content_root(self) -> Path:
        """The folder of the blobs, by default the root; if they are in a bucket, of the partial ones."""
        return self.content if isinstance(self.content, Path) else self.root

    @property
    def bucket(self) -> BucketAddress | None:
        """Where the blobs are, if in a bucket."""
        return self.content if isinstance(self.content, BucketAddress) else None


SETTINGS = {declared.name: declared.metadata["setting"].of(declared.name) for declared in fields_of(Config)}
"""The settings by field name."""

_READER = Schema.from_dict({name: setting.field for name, setting in SETTINGS.items()})()


class Reading(NamedTuple):
    """The valid values by field name, the variables that are no settings, and a sentence for each value that is not valid."""

    values: dict[str, Any]
    unknown: list[str]
    problems: list[str]


def read_settings(environ: Mapping[str, str], options: Mapping[str, str]) -> Reading:
    """Read every setting by itself. The sentences show no secrets."""
    unknown = sorted({name for name in environ if name.startswith("STOWAGE_")} - {setting.name for setting in SETTINGS.values()})
    texts = {field: {**environ, **options}.get(setting.name, setting.default) for field, setting in SETTINGS.items()}
    try:
        return Reading(_READER.load(texts), unknown, [])
    except ValidationError as exc:
        messages: dict[str, list[str]] = exc.normalized_messages()  # type: ignore[no-untyped-call]
        wrong = {SETTINGS[field].name: said[0] for field, said in messages.items()}
        names = {name: OPTIONS[name] if name in options else name for name in wrong}
        return Reading(dict(exc.valid_data or {}), unknown, [f"{names[name]} {mask_secrets(message)}." for name, message in wrong.items()])


def given_options(arguments: Mapping[str, Any]) -> dict[str, str]:
    """The settings among the parsed arguments of a command, by their variable's name; raises ConfigError for an empty address."""
    binds = arguments.get("bind")
    if binds and not all(binds):
        raise ConfigError("--bind must not be empty.")
    given = {"STOWAGE_ROOT": arguments.get("root"), "STOWAGE_BIND": ",".join(binds) if binds else None}
    return {name: text for name, text in given.items() if text is not None}


def mask_secrets(text: str) -> str:
    """The text without the user, password and query of any URL in it, whether or not the URL is valid."""
    pattern = _DATABASE_SECRETS if text.startswith("postgres") else _SECRETS  # a password may contain commas
    return pattern.sub(lambda secret: "xxxxx@" if secret[0].endswith("@") else "xxxxx", text)


def _check_addresses(config: Config) -> None:
    """Refuse an incomplete TLS configuration (certificate, key, authority), and addresses that are open to everyone."""
    if len({file is None for file in (config.tls_cert, config.tls_key, config.tls_ca)}) == 2:
        raise ConfigError("STOWAGE_TLS_CERT, STOWAGE_TLS_KEY and STOWAGE_TLS_CA must be set together.")
    _check_purposes(config.bind, config.health_bind)
    for bind in config.bind:
        if not (bind.is_private or config.tls or config.allow_insecure_tcp):
            raise ConfigError(
                f"STOWAGE_BIND: {bind} can be reached from other machines; set STOWAGE_TLS_CERT, STOWAGE_TLS_KEY and STOWAGE_TLS_CA "
                "so that clients are verified, or STOWAGE_ALLOW_INSECURE_TCP=1 if everyone there may own the store."
            )


def _check_purposes(binds: tuple[Bind, ...], health_binds: tuple[Bind, ...]) -> None:
    """Raise ConfigError if an address has two purposes, or is one of the addresses that a wildcard with the same port stands for."""
    for bind in set(binds) & set(health_binds):
        if bind.path or bind.port:  # the system chooses another port for each 0
            raise ConfigError(f"STOWAGE_HEALTH_BIND: {bind} is also an address of STOWAGE_BIND.")
    for wildcard, bind in permutations((*binds, *health_binds), 2):
        if wildcard != bind and wildcard.covers(bind):
            setting = "STOWAGE_BIND" if bind in binds and wildcard in binds else "STOWAGE_HEALTH_BIND"
            raise ConfigError(f"{setting}: {wildcard} stands for every address, {bind} too; give one of them another port.")
