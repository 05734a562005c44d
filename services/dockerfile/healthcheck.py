"""HEALTHCHECK: `NONE`, or options and `CMD` with a command. Source: buildkit frontend/dockerfile/instructions/parse.go."""

from __future__ import annotations

import re

from stowage.services.dockerfile.flags import parse_flags
from stowage.services.dockerfile.syntax import Instruction
from stowage.services.errors import InvalidParameter
from stowage.services.oci.config import HealthCheck
from stowage.services.oci.gojson import quote
from stowage.services.timestamps import parse_duration

_FLAGS = ("interval", "timeout", "start-period", "start-interval", "retries")
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
    flags = parse_flags(instruction.flags, _FLAGS)
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
