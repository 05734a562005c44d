"""Everything that is known about one image.

Source: moby daemon/containerd/image_inspect.go, image_identity.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.errors import Internal
from stowage.services.metadata.records import ImageRecord
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import ManifestSummary, any_platform, platform_not_found, read_manifests, summarize, with_sizes
from stowage.services.oci.config import ImageConfig
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.oci.reference import Reference
from stowage.services.store.resolve import is_dangling, resolve_image
from stowage.services.timestamps import Timestamp


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """An image, described by the manifest that best fits the wanted platform.

    `size` is in bytes. `config` is empty if that platform is absent or is not an image. `repositories` are the full names of those that
    the image's target was pulled from or pushed to.
    """

    descriptor: Descriptor
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    config: ImageConfig
    size: int
    last_tagged: Timestamp
    manifests: tuple[ManifestSummary, ...]
    repositories: tuple[str, ...]

    @property
    def comment(self) -> str:
        """The comment of the last step of the history: a config has none of its own."""
        return self.config.history[-1].comment if self.config.history else ""


def inspect_image(
    engine: Engine, name: str, *, platform: Platform | None = None, manifests: bool = False, partly: bool = False
) -> InspectedImage:
    """Describe the image. With `platform` the descriptor is that platform's manifest; without `manifests` none are listed.

    Raises InvalidReference, ImageNotFound, NotFound for an image without the platform, and Internal, as Docker does, for one whose config
    has a member of a wrong type; `partly` returns the rest of such a config.
    """
    with engine.metadata.read() as tx:
        image = _inspect(tx, engine.platform, name, platform, manifests=manifests)
    if image.config.problem and not partly:
        raise Internal(f"failed to read image config: could not deserialize image config: {image.config.problem}")
    return image


def _inspect(tx: Transaction, preferred: Platform, name: str, platform: Platform | None, *, manifests: bool) -> InspectedImage:
    matcher = PlatformMatcher.only_strict(platform) if platform else any_platform(preferred)
    record = resolve_image(tx, name)
    image = summarize(record, read_manifests(tx, record.target.digest))
    best = image.best(matcher)
    if best is None and platform is not None:
        raise platform_not_found(name, platform)
    config = _read_config(tx, best)
    described = best.descriptor.digest if best else record.target.digest
    present = {each.descriptor.digest for each in image.manifests if each.available} if manifests else set()
    sizes = tx.graph.content_sizes({described, *present})
    records = tx.images.by_target(record.target.digest)
    repositories = tx.sources.names([record.target.digest]).get(record.target.digest, [])
    tags, digests = _names(records)
    return InspectedImage(
        descriptor=best.descriptor if best and platform else record.target,
        repo_tags=tags,
        repo_digests=digests,
        config=config,
        size=sizes[described] if best is None or best.available else 0,
        last_tagged=Timestamp(max(record.updated_at for record in records)),
        manifests=with_sizes(image.manifests, sizes) if manifests else (),
        repositories=tuple(repositories),
    )


def _read_config(tx: Transaction, manifest: ManifestSummary | None) -> ImageConfig:
    raw = tx.graph.config(manifest.descriptor.digest) if manifest else None
    return ImageConfig.parse(raw) if raw is not None else ImageConfig(Platform())


def _names(records: list[ImageRecord]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The familiar names of the records, and per repository the familiar name with the target's digest."""
    named = [(record, Reference.parse_canonical(record.name)) for record in records if not is_dangling(record)]
    tags = dict.fromkeys(reference.familiar for _, reference in named)
    digests = dict.fromkeys(
        reference if reference.digest else Reference(reference.domain, reference.path, digest=record.target.digest)
        for record, reference in named
    )
    return tuple(tags), tuple(dict.fromkeys(reference.familiar for reference in digests))
