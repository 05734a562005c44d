"""What differs between the configs of two images: environment, labels, what is run and how, and the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from stowage.services.oci.config import ContainerConfig, History, ImageConfig


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """A setting that differs. `key` is a variable's, label's, port's or volume's, empty for others; None where there is none."""

    field: str
    key: str
    left: str | None
    right: str | None


@dataclass(frozen=True, slots=True)
class HistoryDifference:
    """How many of the first steps are the same, and the steps after them."""

    same: int
    left: tuple[History, ...]
    right: tuple[History, ...]


def compare_configs(left: ImageConfig, right: ImageConfig) -> tuple[SettingDifference, ...]:
    """The settings that differ, ordered by field, then by key."""
    ours, theirs = _settings(left), _settings(right)
    return tuple(
        SettingDifference(field, key, ours[field].get(key), theirs[field].get(key))
        for field in ours
        for key in sorted(ours[field].keys() | theirs[field].keys())
        if ours[field].get(key) != theirs[field].get(key)
    )


def compare_histories(left: ImageConfig, right: ImageConfig) -> HistoryDifference:
    """The steps that are the same from the beginning on, whenever they were made, and what follows."""
    same = 0
    for ours, theirs in zip(left.history, right.history, strict=False):
        if (ours.created_by, ours.empty_layer) != (theirs.created_by, theirs.empty_layer):
            break
        same += 1
    return HistoryDifference(same, left.history[same:], right.history[same:])


def _settings(config: ImageConfig) -> dict[str, Mapping[str, str]]:
    container = config.container
    return {
        "Platform": _one(str(config.platform)),
        "Env": dict(_variable(text) for text in container.env or ()),
        "Labels": container.labels or {},
        "Entrypoint": _one(_words(container.entrypoint)),
        "Cmd": _one(_words(container.cmd)),
        "User": _one(container.user),
        "WorkingDir": _one(container.working_dir),
        "ExposedPorts": dict.fromkeys(container.exposed_ports or (), ""),
        "Volumes": dict.fromkeys(container.volumes or (), ""),
        "StopSignal": _one(container.stop_signal),
        "Shell": _one(_words(container.shell)),
        "OnBuild": dict(_by_number(container.on_build or ())),
        "Healthcheck": _one(_healthcheck(container)),
    }


def _by_number(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Texts by their number."""
    return [(str(number), text) for number, text in enumerate(texts)]


def _variable(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _one(text: str | None) -> dict[str, str]:
    """A setting without keys; none if it is empty."""
    return {"": text} if text else {}


def _words(words: tuple[str, ...] | None) -> str:
    """A command as Dockerfiles write it: a JSON list."""
    return "" if words is None else orjson.dumps(words).decode()


def _healthcheck(container: ContainerConfig) -> str:
    return "" if container.healthcheck is None else orjson.dumps(container.healthcheck.to_json()).decode()
