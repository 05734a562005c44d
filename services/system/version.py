"""The versions of the service and of its parts."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from stowage import __version__
from stowage.services.engine import Engine

VERSION = __version__
"""The version of Stowage."""


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the service; `details` are for people to read."""

    name: str
    version: str
    details: dict[str, str]


@dataclass(frozen=True, slots=True)
class Version:
    """The values of `docker version` for a server; `platform` names the product."""

    platform: dict[str, str]
    version: str
    api_version: str
    min_api_version: str
    os: str
    architecture: str
    kernel: str
    components: tuple[Component, ...]


def read_version(engine: Engine, *, api_version: str, min_api_version: str) -> Version:
    """The versions, for a service that speaks this range of the API. Source: moby daemon/info.go SystemVersion."""
    kernel = platform.release()
    details = {
        "ApiVersion": api_version,
        "Arch": engine.platform.architecture,
        "Experimental": "false",
        "KernelVersion": kernel,
        "MinAPIVersion": min_api_version,
        "Os": engine.platform.os,
        "PythonVersion": platform.python_version(),
    }
    return Version(
        platform={"Name": "Stowage"},
        version=VERSION,
        api_version=api_version,
        min_api_version=min_api_version,
        os=engine.platform.os,
        architecture=engine.platform.architecture,
        kernel=kernel,
        components=(Component(name="Engine", version=VERSION, details=details),),
    )
