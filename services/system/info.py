"""Information about the host and the service."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import platform
import socket
import threading
import uuid
from dataclasses import dataclass

from stowage.services.engine import Engine, ShownSettings
from stowage.services.errors import EngineError
from stowage.services.system.readiness import little_space
from stowage.services.system.version import VERSION
from stowage.services.timestamps import Timestamp

_CONTAINERD_IDENTITY = ("driver-type", "io.containerd.snapshotter.v1")
"""From this row clients know that an image's ID is the digest of its manifest or index, not of its config."""

_NO_CONTAINERS = "WARNING: Stowage is an image-only engine: it cannot run containers"


@dataclass(frozen=True, slots=True)
class Index:
    """A registry as the settings describe it; `secure` ones are contacted over verified TLS only."""

    name: str
    mirrors: tuple[str, ...]
    secure: bool
    official: bool


@dataclass(frozen=True, slots=True)
class Registries:
    """Settings of registries: networks and names that may be insecure, mirrors of docker.io."""

    insecure_networks: tuple[str, ...]
    indexes: dict[str, Index]
    mirrors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Info:
    """The values of `docker info`; `memory` in bytes, `time` in RFC 3339."""

    id: str
    images: int
    driver: str
    driver_status: tuple[tuple[str, str], ...]
    descriptors: int
    threads: int
    time: str
    kernel: str
    operating_system: str
    os_version: str
    os: str
    machine: str
    registries: Registries
    processors: int
    memory: int
    root: str
    http_proxy: str
    https_proxy: str
    no_proxy: str
    hostname: str
    version: str
    warnings: tuple[str, ...]


def read_info(engine: Engine) -> Info:
    """The current values. Source: moby daemon/info.go SystemInfo."""
    with engine.metadata.read() as tx:
        images = tx.images.count()
    hostname, release = socket.gethostname(), _os_release()
    return Info(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{hostname}{engine.shown.root}")),
        images=images,
        driver="stowage",
        driver_status=(_CONTAINERD_IDENTITY, ("Store", engine.shown.store), ("Database", engine.shown.database)),
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=threading.active_count(),
        time=str(Timestamp(engine.clock())),
        kernel=platform.release(),
        operating_system=release.get("PRETTY_NAME", platform.system()),
        os_version=release.get("VERSION_ID", ""),
        os=engine.platform.os,
        machine=platform.machine(),
        registries=_registries(engine.shown),
        processors=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        root=engine.shown.root,
        http_proxy=engine.shown.http_proxy,
        https_proxy=engine.shown.https_proxy,
        no_proxy=engine.shown.no_proxy,
        hostname=hostname,
        version=VERSION,
        warnings=_warnings(engine),
    )


def _warnings(engine: Engine) -> tuple[str, ...]:
    """Never empty: the CLI would then make up warnings about memory limits and the like."""
    problem = None
    with contextlib.suppress(EngineError):
        problem = little_space(engine)
    return (_NO_CONTAINERS, f"WARNING: {problem}") if problem else (_NO_CONTAINERS,)


def _os_release() -> dict[str, str]:
    """The fields of os-release; none if the system has no such file."""
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release()
    return {}


def _registries(shown: ShownSettings) -> Registries:
    """Networks stay networks; each insecure name becomes an index beside docker.io."""
    networks = tuple(entry for entry in shown.insecure_registries if _is_network(entry))
    indexes = {"docker.io": Index(name="docker.io", mirrors=shown.registry_mirrors, secure=True, official=True)}
    for name in shown.insecure_registries:
        if name not in networks:
            indexes[name] = Index(name=name, mirrors=(), secure=False, official=False)
    return Registries(insecure_networks=networks, indexes=indexes, mirrors=shown.registry_mirrors)


def _is_network(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        return False
    return True
