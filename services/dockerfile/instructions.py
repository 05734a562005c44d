"""Instructions checked and applied to a container configuration, in Docker's words and Docker's order.

All are read before the first takes effect; then each sees the environment that those before it made.
Source: moby daemon/builder/dockerfile (BuildFromConfig, dispatchers.go); buildkit frontend/dockerfile/instructions (parse.go, bflag.go) and
util/suggest; moby/sys signal.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from stowage.services.dockerfile.parser import Instruction, parse_dockerfile
from stowage.services.dockerfile.ports import Ports, count_ports, list_ports, parse_ports
from stowage.services.dockerfile.words import SPACE, Expander
from stowage.services.errors import InvalidParameter
from stowage.services.oci.config import ContainerConfig, HealthCheck
from stowage.services.oci.gojson import quote
from stowage.services.timestamps import parse_duration

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


_MAX_TYPOS = 2


def parse_flags(flags: Collection[str], known: Collection[str] = ()) -> dict[str, str]:
    """The value of each flag given; raises InvalidParameter for one that is unknown, repeated or without a value."""
    values: dict[str, str] = {}
    for flag in flags:
        option, equals, value = flag.partition("=")
        name = option[2:]
        if name not in known:
            raise InvalidParameter(f"unknown flag: {option}{_suggestion(name, known)}")
        if name in values:
            raise InvalidParameter(f"duplicate flag specified: {option}")
        if not equals:
            raise InvalidParameter(f"missing a value on flag: {option}")
        values[name] = value
    return values


def _suggestion(name: str, known: Collection[str]) -> str:
    distances = [(_distance(name, candidate), candidate) for candidate in known if abs(len(name) - len(candidate)) <= _MAX_TYPOS]
    nearest = min(distances, default=(_MAX_TYPOS + 1, ""))
    return f" (did you mean {nearest[1]}?)" if nearest[0] <= _MAX_TYPOS else ""


def _distance(left: str, right: str) -> int:
    """The Levenshtein distance."""
    row = list(range(len(right) + 1))
    for index, character in enumerate(left, start=1):
        previous, row[0] = row[0], index
        for column, other in enumerate(right, start=1):
            previous, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, previous + (character != other))
    return row[-1]


_HEALTH_FLAGS = ("interval", "timeout", "start-period", "start-interval", "retries")
_SHORTEST = 1_000_000
_INTEGER = re.compile(r"[+-]?[0-9]+")
_MAX_INT32 = (1 << 31) - 1


def read_healthcheck(instruction: Instruction) -> HealthCheck:
    """The health check that the instruction describes; raises InvalidParameter."""
    if not instruction.arguments:
        raise InvalidParameter("HEALTHCHECK requires at least one argument")
    kind, *command = (instruction.arguments[0].upper(), *instruction.arguments[1:])
    if kind == "NONE":
        if command:
            raise InvalidParameter("HEALTHCHECK NONE takes no arguments")
        return HealthCheck(test=("NONE",))
    flags = parse_flags(instruction.flags, _HEALTH_FLAGS)
    if kind != "CMD":
        raise InvalidParameter(f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)")
    if not command:
        raise InvalidParameter("Missing command after HEALTHCHECK CMD")
    return HealthCheck(
        test=("CMD" if instruction.is_json else "CMD-SHELL", *command),
        interval=_interval(flags, "interval"),
        timeout=_interval(flags, "timeout"),
        start_period=_interval(flags, "start-period"),
        start_interval=_interval(flags, "start-interval"),
        retries=_retries(flags.get("retries", "")),
    )


def _interval(flags: dict[str, str], name: str) -> int:
    text = flags.get(name, "")
    nanoseconds = parse_duration(text) if text else 0
    if nanoseconds and nanoseconds < _SHORTEST:
        raise InvalidParameter(f"Interval {quote(name)} cannot be less than 1ms")
    return nanoseconds


def _retries(text: str) -> int:
    if not text:
        return 0
    if not _INTEGER.fullmatch(text):
        raise InvalidParameter(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    retries = int(text[:40])
    if not -_MAX_INT32 - 1 <= retries <= _MAX_INT32:
        raise InvalidParameter(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    if retries < 0:
        raise InvalidParameter(f"--retries cannot be negative ({retries})")
    return retries


_SIGNALS = frozenset(
    [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR",
        "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
        "XFSZ", "RTMIN", *(f"RTMIN+{number}" for number in range(1, 16)),
        "RTMAX", *(f"RTMAX-{number}" for number in range(1, 15)),
    ]
)  # fmt: skip
_SIGNAL_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def check_signal(signal: str) -> None:
    """Accept a number other than zero, or a name in any case with or without SIG; raises InvalidParameter."""
    is_number = _SIGNAL_NUMBER.fullmatch(signal) and int(signal) != 0
    if not is_number and signal.upper().removeprefix("SIG") not in _SIGNALS:
        raise InvalidParameter(f"invalid signal: {signal}")
