"""Image configs: what to run, for which platform, made of which layers, with which history.

They are read as in Go: unknown keys are dropped, null counts as absent. Platform and rootfs must have the right types, since containerd
reads them when it pulls. Nothing else does: a member of a wrong type is skipped, and reading stops at a time that is none, which counts as
the zero time. Responses are built from these values, never from the raw JSON.

Source: OCI image spec config.md; moby docker-image-spec specs-go/v1/image.go (Healthcheck, OnBuild, Shell) and
daemon/containerd/image_list.go; containerd core/unpack/unpacker.go (unpackConfig); Go encoding/json, Unmarshal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from stowage.services.errors import InvalidContent, InvalidDigest
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import Fields, decode, encode, unmarshal_error
from stowage.services.oci.platform import Platform
from stowage.services.timestamps import ZERO, Timestamp


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How to test a container; durations in nanoseconds, zero means inherit."""

    test: tuple[str, ...] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    @classmethod
    def read(cls, fields: Fields) -> HealthCheck:
        """Read the `Healthcheck` object."""
        return cls(
            test=fields.texts("Test"),
            interval=fields.integer("Interval"),
            timeout=fields.integer("Timeout"),
            start_period=fields.integer("StartPeriod"),
            start_interval=fields.integer("StartInterval"),
            retries=fields.integer("Retries"),
        )

    def to_json(self) -> dict[str, object]:
        """Go's field order with its omitempty."""
        return _without_empty(
            {
                "Test": _list(self.test),
                "Interval": self.interval,
                "Timeout": self.timeout,
                "StartPeriod": self.start_period,
                "StartInterval": self.start_interval,
                "Retries": self.retries,
            }
        )


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """The `config` object; None means that the key was absent or null, which differs from empty on the wire."""

    user: str = ""
    exposed_ports: dict[str, dict[str, object]] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: dict[str, dict[str, object]] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: HealthCheck | None = None
    on_build: tuple[str, ...] | None = None
    shell: tuple[str, ...] | None = None

    @classmethod
    def read(cls, fields: Fields) -> ContainerConfig:
        """Read the `config` object."""
        healthcheck = fields.members("Healthcheck")
        return cls(
            user=fields.text("User"),
            exposed_ports=_read_set(fields, "ExposedPorts"),
            env=fields.texts("Env"),
            entrypoint=fields.texts("Entrypoint"),
            cmd=fields.texts("Cmd"),
            volumes=_read_set(fields, "Volumes"),
            working_dir=fields.text("WorkingDir"),
            labels=fields.text_mapping("Labels"),
            stop_signal=fields.text("StopSignal"),
            args_escaped=fields.boolean("ArgsEscaped"),
            healthcheck=None if healthcheck is None else HealthCheck.read(healthcheck),
            on_build=fields.texts("OnBuild"),
            shell=fields.texts("Shell"),
        )

    def to_json(self) -> dict[str, object]:
        """The `config` object in Go's field order with its omitempty, maps sorted by key."""
        written = _without_empty(
            {
                "User": self.user,
                "ExposedPorts": _sorted(self.exposed_ports),
                "Env": _list(self.env),
                "Entrypoint": _list(self.entrypoint),
                "Cmd": _list(self.cmd),
                "Volumes": _sorted(self.volumes),
                "WorkingDir": self.working_dir,
                "Labels": _sorted(self.labels),
                "StopSignal": self.stop_signal,
                "ArgsEscaped": self.args_escaped,
            }
        )
        if self.healthcheck is not None:
            written["Healthcheck"] = self.healthcheck.to_json()
        return written | _without_empty({"OnBuild": _list(self.on_build), "Shell": _list(self.shell)})


@dataclass(frozen=True, slots=True)
class History:
    """One step of the build; an empty layer has no diff_id."""

    created: Timestamp | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    @classmethod
    def read(cls, fields: Fields) -> History:
        """Read one element of `history`."""
        return cls(
            created=_read_time(fields, "created"),
            created_by=fields.text("created_by"),
            author=fields.text("author"),
            comment=fields.text("comment"),
            empty_layer=fields.boolean("empty_layer"),
        )

    def to_json(self) -> dict[str, object]:
        """Go's field order with its omitempty."""
        return _without_empty(
            {
                "created": "" if self.created is None else str(self.created),
                "created_by": self.created_by,
                "author": self.author,
                "comment": self.comment,
                "empty_layer": self.empty_layer,
            }
        )


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """A parsed image config. `problem` says why Go cannot read all of it, and `history_problem` why it cannot read the history; they are
    empty for almost every image.
    """

    platform: Platform
    created: Timestamp | None = None
    author: str = ""
    container: ContainerConfig = field(default_factory=ContainerConfig)
    rootfs_type: str = ""
    diff_ids: tuple[Digest, ...] | None = None
    history: tuple[History, ...] = ()
    problem: str = ""
    history_problem: str = ""

    @classmethod
    def parse(cls, raw: bytes) -> ImageConfig:
        """Read a config blob; raises InvalidContent for anything but a JSON object, and if its platform or rootfs has a wrong type."""
        document = decode(raw)
        checked = Fields(document, "Image")
        rootfs = checked.members("rootfs")
        problems: list[str] = []
        history_problems: list[str] = []
        created = _read_time(Fields(document, "Image", problems), "created")
        fields = Fields(_before_created(document) if problems else document, "Image", problems)
        container = fields.members("config")
        return cls(
            platform=Platform.read(checked),
            created=created,
            author=fields.text("author"),
            container=ContainerConfig() if container is None else ContainerConfig.read(container),
            rootfs_type="" if rootfs is None else rootfs.text("type"),
            diff_ids=None if rootfs is None else _read_digests(rootfs, "diff_ids"),
            history=tuple(map(History.read, Fields(document, "Image", history_problems).elements("history", "History"))),
            problem=next(iter(problems + history_problems), ""),
            history_problem=next(iter(history_problems), ""),
        )

    def to_bytes(self) -> bytes:
        """The JSON that moby writes for an imported image: Go's escapes and field order (`config` last: it shadows an embedded one)."""
        head = {"created": "" if self.created is None else str(self.created), "author": self.author}
        return encode(
            {
                **_without_empty(head),
                **self.platform.to_json(),
                "rootfs": {
                    "type": self.rootfs_type,
                    "diff_ids": None if self.diff_ids is None else [str(digest) for digest in self.diff_ids],
                },
                **_without_empty({"history": [step.to_json() for step in self.history]}),
                "config": self.container.to_json(),
            }
        )


def _read_time(fields: Fields, name: str) -> Timestamp | None:
    value = fields.value(name)
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return Timestamp.parse(value)
        raise InvalidContent("Time.UnmarshalJSON: input is not a JSON string")
    except InvalidContent as exc:
        fields.refuse(exc)
        return ZERO


def _before_created(document: object) -> dict[str, object]:
    """The members before the first `created`: Go stops there if it is not a time."""
    members = document.items() if isinstance(document, dict) else ()
    return dict(takewhile(lambda member: member[0].casefold() != "created", members))


def _read_set(fields: Fields, name: str) -> dict[str, dict[str, object]] | None:
    """A Go map of empty structs: the members must be objects (or null); their contents are dropped."""
    mapping = fields.mapping(name)
    if mapping is None:
        return None
    for member in mapping.values():
        if member is not None and not isinstance(member, Mapping):
            fields.refuse(unmarshal_error(member, name))
    return {key: {} for key in mapping}


def _read_digests(fields: Fields, name: str) -> tuple[Digest, ...] | None:
    texts = fields.texts(name)
    try:
        return None if texts is None else tuple(Digest.parse(text) for text in texts)
    except InvalidDigest as exc:
        raise InvalidContent(f"invalid {name} of an image config: {exc}") from exc


def _list(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def _sorted(values: Mapping[str, object] | None) -> dict[str, object]:
    return dict(sorted((values or {}).items()))


def _without_empty(members: Mapping[str, object]) -> dict[str, object]:
    """What Go's omitempty leaves of these members."""
    return {name: value for name, value in members.items() if value}
