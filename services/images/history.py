"""The history of an image: the steps that made it.

Source: moby daemon/containerd/image_history.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.errors import Internal
from stowage.services.metadata.records import ImageRecord, ManifestDocument, Role
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import any_platform, platform_not_found, read_manifests, summarize
from stowage.services.oci.config import ImageConfig
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.oci.reference import Reference
from stowage.services.store.resolve import familiar_name, is_dangling, resolve_image

MISSING = "<missing>"
"""The ID of every step but the last: layers are not images."""


@dataclass(frozen=True, slots=True)
class HistoryStep:
    """One step; `created` in seconds since 1970, `size` the uncompressed bytes of its layer, `tags` None if the step has no image."""

    id: str
    created: int
    created_by: str
    comment: str
    size: int
    tags: tuple[str, ...] | None


def read_history(engine: Engine, name: str, *, platform: Platform | None = None) -> tuple[HistoryStep, ...] | None:
    """The steps of an image, newest first, or None for an image without a history.

    Raises ImageNotFound, NotFound for an image without the platform, and Internal if more steps have layers than there are layers, or
    if a step has a member of a wrong type.
    """
    with engine.metadata.read() as tx:
        return _read(tx, engine.platform, name, platform)


def _read(tx: Transaction, preferred: Platform, name: str, platform: Platform | None) -> tuple[HistoryStep, ...] | None:
    matcher = PlatformMatcher.only(platform) if platform else any_platform(preferred)
    record = resolve_image(tx, name)
    best = summarize(record, read_manifests(tx, record.target.digest)).best_present(matcher)
    if best is None:
        raise platform_not_found(familiar_name(record), platform)
    raw = tx.graph.config(best.descriptor.digest)
    if raw is None or best.facts is None:
        return None
    config = ImageConfig.parse(raw)
    if config.history_problem:
        raise Internal(f"could not deserialize image config: {config.history_problem}")
    steps = _read_steps(tx, best.facts, config)
    return (_name_first(steps[-1], tx.images.by_target(record.target.digest)), *steps[-2::-1]) if steps else None


def _read_steps(tx: Transaction, manifest: ManifestDocument, config: ImageConfig) -> list[HistoryStep]:
    """The steps in the order they were made; a layer that cannot be read (absent, encrypted) counts 0 bytes."""
    layers = tx.graph.layers(edge.child.digest for edge in manifest.edges if edge.role is Role.LAYER)
    known = {layer.diff_id: layer.size for layer in layers.values()}
    sizes = iter([known.get(diff_id, 0) for diff_id in config.diff_ids or ()])
    steps = []
    for step in config.history:
        size = 0 if step.empty_layer else next(sizes, None)
        if size is None:
            raise Internal("unable to find the size of the layer")
        created = step.created.unix if step.created else 0
        steps.append(HistoryStep(MISSING, created, step.created_by, step.comment, size, None))
    return steps


def _name_first(step: HistoryStep, records: list[ImageRecord]) -> HistoryStep:
    """The last step made is the image: it has its ID and tags."""
    tags = tuple(Reference.parse_canonical(record.name).familiar for record in records if not is_dangling(record))
    return HistoryStep(str(records[0].target.digest), step.created, step.created_by, step.comment, step.size, tags or None)
