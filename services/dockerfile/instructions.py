"""Instructions checked and applied to a container configuration, in Docker's words and Docker's order.

All are read before the first takes effect; then each sees the environment that those before it made.
Source: moby daemon/builder/dockerfile (BuildFromConfig, dispatchers.go); buildkit frontend/dockerfile/instructions/parse.go.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stowage.services.dockerfile.flags import parse_flags
from stowage.services.dockerfile.healthcheck import read_healthcheck
from stowage.services.dockerfile.parser import parse_dockerfile
from stowage.services.dockerfile.ports import Ports, count_ports, list_ports, parse_ports
from stowage.services.dockerfile.signals import check_signal
from stowage.services.dockerfile.spaces import SPACE
from stowage.services.dockerfile.syntax import Instruction
from stowage.services.dockerfile.words import Expander
from stowage.services.errors import InvalidParameter
from stowage.services.oci.config import ContainerConfig, HealthCheck

MAX_CHANGES = 256 << 10
"""How many characters the changes of one import may have together. Real ones have a few thousand; each costs time and memory."""

_ONBUILD = re.compile(r"[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*", re.IGNORECASE)
_PORT_BYTES = 256
"""What an exposed port takes in memory, roughly: in the configuration and in its JSON."""

_EMPTY_VOLUME = "VOLUME specified can not be an empty string"


def apply_changes(changes: Sequence[str], *, os: str, keep: Callable[[int], None] = lambda _: None) -> ContainerConfig:
    """The configuration that these instructions make for an image of this operating system; raises InvalidParameter in Docker's words.

    The changes are lines of one Dockerfile: a directive, comment or continued line in one of them extends into the next. `keep` is called
    with the bytes of memory that many ports will take, before they do.
    """
    if not changes:
        return ContainerConfig()
    if sum(len(change) + 1 for change in changes) > MAX_CHANGES:
        raise InvalidParameter(f"the changes have more than {MAX_CHANGES} characters together: shorten them, or build the image instead")
    dockerfile = parse_dockerfile("\n".join(changes))
    effects = [_read(instruction) for instruction in dockerfile.instructions]
    draft = _Draft(os, Expander(dockerfile.escape))
    for effect in effects:
        effect(draft)
    keep(_PORT_BYTES * count_ports(draft.ports))
    return draft.finish()


@dataclass(slots=True)
class _Draft:
    """The configuration so far."""

    os: str
    expander: Expander
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    env: dict[str, str] = field(default_factory=dict)
    ports: set[Ports] = field(default_factory=set)
    volumes: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)
    on_build: list[str] = field(default_factory=list)
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    cmd_was_set: bool = False
    healthcheck: HealthCheck | None = None

    def expand(self, text: str) -> str:
        return self.expander.word(text, self.env)

    def command(self, instruction: Instruction) -> tuple[str, ...]:
        """The command, run by a shell unless it is a JSON array."""
        if instruction.is_json:
            return instruction.arguments
        shell = ("cmd", "/S", "/C") if self.os == "windows" else ("/bin/sh", "-c")
        return shell + instruction.arguments

    def finish(self) -> ContainerConfig:
        return ContainerConfig(
            user=self.user,
            exposed_ports={port: {} for port in list_ports(self.ports)} or None,
            env=tuple(f"{key}={value}" for key, value in self.env.items()) or None,
            entrypoint=self.entrypoint or None,
            cmd=self.cmd or None,
            volumes={volume: {} for volume in sorted(self.volumes)} or None,
            working_dir=self.working_dir,
            labels=dict(sorted(self.labels.items())) or None,
            stop_signal=self.stop_signal,
            healthcheck=self.healthcheck,
            on_build=tuple(self.on_build) or None,
        )


Effect = Callable[[_Draft], None]


def _read(instruction: Instruction) -> Effect:
    read = _READERS.get(instruction.name.lower())
    if read is None:
        raise InvalidParameter(f"{instruction.name} is not a valid change command")
    return read(instruction)


def _read_cmd(instruction: Instruction) -> Effect:
    parse_flags(instruction.flags)

    def apply(draft: _Draft) -> None:
        draft.cmd = draft.command(instruction)
        draft.cmd_was_set = draft.cmd_was_set or bool(instruction.arguments)

    return apply


def _read_entrypoint(instruction: Instruction) -> Effect:
    parse_flags(instruction.flags)

    def apply(draft: _Draft) -> None:
        draft.entrypoint = draft.command(instruction) if instruction.arguments else None
        if not draft.cmd_was_set:
            draft.cmd = None

    return apply


def _read_env(instruction: Instruction) -> Effect:
    pairs = _pairs(instruction)

    def apply(draft: _Draft) -> None:
        draft.env.update([(draft.expand(key), draft.expand(value)) for key, value in pairs])

    return apply


def _read_label(instruction: Instruction) -> Effect:
    pairs = _pairs(instruction)

    def apply(draft: _Draft) -> None:
        draft.labels.update([(draft.expand(key), draft.expand(value)) for key, value in pairs])

    return apply


def _pairs(instruction: Instruction) -> list[tuple[str, str]]:
    parse_flags(instruction.flags)
    _at_least_one(instruction)
    pairs = list(zip(instruction.arguments[::2], instruction.arguments[1::2], strict=True))
    if not all(key for key, _ in pairs):
        raise InvalidParameter(f"{instruction.name.upper()} names can not be blank")
    return pairs


def _read_expose(instruction: Instruction) -> Effect:
    _at_least_one(instruction)
    parse_flags(instruction.flags)

    def apply(draft: _Draft) -> None:
        specs = [spec for word in sorted(instruction.arguments) for spec in draft.expander.words(word, draft.env)]
        draft.ports.update([parse_ports(spec) for spec in specs])

    return apply


def _read_healthcheck(instruction: Instruction) -> Effect:
    healthcheck = read_healthcheck(instruction)

    def apply(draft: _Draft) -> None:
        draft.healthcheck = healthcheck

    return apply


def _read_onbuild(instruction: Instruction) -> Effect:
    _at_least_one(instruction)
    parse_flags(instruction.flags)
    trigger = instruction.arguments[0].upper()
    if trigger == "ONBUILD":
        raise InvalidParameter("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise InvalidParameter(f"{trigger} isn't allowed as an ONBUILD trigger")
    expression = _ONBUILD.sub("", instruction.line, count=1)
    expression += "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in instruction.heredocs)
    return lambda draft: draft.on_build.append(expression)


def _read_stopsignal(instruction: Instruction) -> Effect:
    argument = _exactly_one(instruction)

    def apply(draft: _Draft) -> None:
        if draft.os == "windows":
            raise InvalidParameter("The daemon on this platform does not support the command stopsignal")
        signal = draft.expand(argument)
        check_signal(signal)
        draft.stop_signal = signal

    return apply


def _read_user(instruction: Instruction) -> Effect:
    argument = _exactly_one(instruction)
    parse_flags(instruction.flags)

    def apply(draft: _Draft) -> None:
        draft.user = draft.expand(argument)

    return apply


def _read_volume(instruction: Instruction) -> Effect:
    _at_least_one(instruction)
    parse_flags(instruction.flags)
    volumes = [volume.strip(SPACE) for volume in instruction.arguments]
    if not all(volumes):
        raise InvalidParameter(_EMPTY_VOLUME)

    def apply(draft: _Draft) -> None:
        expanded = [draft.expand(volume) for volume in volumes]
        if not all(expanded):
            raise InvalidParameter(_EMPTY_VOLUME)
        draft.volumes.update(expanded)

    return apply


def _read_workdir(instruction: Instruction) -> Effect:
    argument = _exactly_one(instruction)
    parse_flags(instruction.flags)

    def apply(draft: _Draft) -> None:
        path = draft.expand(argument)
        if not path:
            raise InvalidParameter("cannot normalize nothing")
        joined = path if path.startswith("/") else f"{draft.working_dir}/{path}"
        draft.expander.spend(len(joined))
        draft.working_dir = posixpath.normpath("/" + joined.lstrip("/"))

    return apply


def _at_least_one(instruction: Instruction) -> None:
    if not instruction.arguments:
        raise InvalidParameter(f"{instruction.name.upper()} requires at least one argument")


def _exactly_one(instruction: Instruction) -> str:
    if len(instruction.arguments) != 1:
        raise InvalidParameter(f"{instruction.name.upper()} requires exactly one argument")
    return instruction.arguments[0]


_READERS: dict[str, Callable[[Instruction], Effect]] = {
    "cmd": _read_cmd,
    "entrypoint": _read_entrypoint,
    "env": _read_env,
    "expose": _read_expose,
    "healthcheck": _read_healthcheck,
    "label": _read_label,
    "onbuild": _read_onbuild,
    "stopsignal": _read_stopsignal,
    "user": _read_user,
    "volume": _read_volume,
    "workdir": _read_workdir,
}
