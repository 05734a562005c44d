"""Distribution inspect: what a name means at its registry now, and for which platforms. Nothing is stored.

Source: moby daemon/server/router/distribution/distribution_routes.go, daemon/internal/distribution/repository.go.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

from stowage.services.archive.bounds import Costs
from stowage.services.engine import Engine, Limits
from stowage.services.errors import EngineError, InvalidContent, InvalidParameter, RegistryFailure
from stowage.services.oci import gojson, mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import Fields
from stowage.services.oci.manifest import Index, Manifest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference, parse_any
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.repository import Repository

_MAX_CONFIG = 4 << 20


@dataclass(frozen=True, slots=True)
class DistributionInspect:
    """A name's target at the registry, and the platforms that it names, in its order."""

    descriptor: Descriptor
    platforms: tuple[Platform, ...]


def inspect_distribution(engine: Engine, name: str, *, credentials: Credentials | None = None) -> DistributionInspect:
    """Ask the registry about a name: by its digest, or else its tag, or else `latest`.

    Raises InvalidReference and InvalidParameter for a name that cannot be pulled, InvalidContent for a manifest that is not what it claims
    to be, and what `Repository.read` raises, and `Costs.keep` for a large manifest or config.
    """
    reference = _read_name(name)
    with engine.registry.repository(reference, credentials=credentials) as repository, closing(Costs(engine.memory)) as costs:
        target, raw = repository.read(reference)
        costs.keep(gojson.decode_memory(raw))
        return DistributionInspect(
            Descriptor(target.media_type, target.digest, target.size), _platforms(repository, target, raw, engine.limits, costs)
        )


def _read_name(name: str) -> Reference:
    reference = parse_any(name)
    if isinstance(reference, Digest):
        raise RegistryFailure("no manifest found for full image ID")
    if reference.familiar_name == "scratch":
        raise InvalidParameter("'scratch' is a reserved name")
    return reference.tagged()


def _platforms(repository: Repository, target: Descriptor, raw: bytes, limits: Limits, costs: Costs) -> tuple[Platform, ...]:
    """The platforms of an index's entries, including unspecified ones, or that of a manifest's config."""
    if mediatypes.is_index(target.media_type):
        return tuple(entry.platform or Platform() for entry in Index.parse(raw, target.media_type).manifests)
    config = Manifest.parse(raw, target.media_type).config
    try:
        content = _fetch(repository, config, limits)
    except EngineError:  # the answer is about the manifest; a config that cannot be read only leaves the platform unknown
        return ()
    costs.keep(gojson.decode_memory(content))
    try:
        platform = Platform.read(Fields(gojson.decode(content), "Platform"))
    except EngineError:
        return ()
    return (platform,) if platform.os or platform.architecture else ()


def _fetch(repository: Repository, config: Descriptor, limits: Limits) -> bytes:
    """A verified config blob. All of it must arrive within the time for which a registry may be silent."""
    if config.size > _MAX_CONFIG:
        raise InvalidContent(f"config of {config.size} bytes is larger than {_MAX_CONFIG} bytes")
    until = time.monotonic() + limits.stall_seconds
    stream = repository.blob(config)
    try:
        content = b""
        for chunk in stream:
            content += chunk
            if len(content) > config.size or time.monotonic() > until:
                break
    finally:
        stream.close()
    if len(content) != config.size or Digest.of(content, config.digest.algorithm) != config.digest:
        raise InvalidContent(f"config {config.digest} is not what the registry sent")
    return content
