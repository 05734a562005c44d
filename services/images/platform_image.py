"""One platform of an image: its manifest, its config, and its layers with the steps that made them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

from stowage.services.engine import Engine
from stowage.services.errors import NotFound
from stowage.services.metadata.records import ManifestDocument, Role
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import any_platform, platform_not_found, read_manifests, summarize
from stowage.services.oci.config import ImageConfig
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.mediatypes import is_foreign_layer
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.store.resolve import familiar_name, resolve_image


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """A layer: its uncompressed digest and size if they are known, the step that made it, and whether its blob is in the store."""

    descriptor: Descriptor
    diff_id: Digest | None
    unpacked: int | None
    created_by: str
    is_present: bool

    @property
    def identity(self) -> Digest:
        """Equal for layers with equal content, however they are compressed."""
        return self.diff_id or self.descriptor.digest

    @property
    def absence(self) -> str:
        """Why it cannot be read, if it cannot."""
        if self.is_present:
            return ""
        return "it is a foreign layer that the store does not have" if is_foreign_layer(self.descriptor.media_type) else "it is missing"


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """A present manifest of an image, by the name that was asked for; the config is empty if it is none of an image."""

    name: str
    descriptor: Descriptor
    platform: Platform
    config: ImageConfig
    layers: tuple[ImageLayer, ...]

    def find_layer(self, text: str) -> int:
        """The number of the layer with this number, from 0, or digest; raises NotFound."""
        for number, layer in enumerate(self.layers):
            if text in (str(number), str(layer.descriptor.digest), str(layer.diff_id)):
                return number
        raise NotFound(f"image {self.name} has no such layer; it has {len(self.layers)}")


def read_platform_image(engine: Engine, name: str, platform: Platform | None = None) -> PlatformImage:
    """The manifest of an image that fits a platform, or the preferred one; raises ImageNotFound, and NotFound if there is none."""
    matcher = PlatformMatcher.only(platform) if platform else any_platform(engine.platform)
    with engine.metadata.read() as tx:
        record = resolve_image(tx, name)
        best = summarize(record, read_manifests(tx, record.target.digest)).best_present(matcher)
        if best is None or best.facts is None:
            raise platform_not_found(familiar_name(record), platform)
        raw = tx.graph.config(best.descriptor.digest)
        config = ImageConfig.parse(raw) if raw is not None else ImageConfig(Platform())
        return PlatformImage(name, best.descriptor, best.platform, config, _layers(tx, best.facts, config))


def _layers(tx: Transaction, manifest: ManifestDocument, config: ImageConfig) -> tuple[ImageLayer, ...]:
    layers = [edge.child for edge in manifest.edges if edge.role is Role.LAYER]
    digests = [layer.digest for layer in layers]
    present, facts = tx.graph.present(digests), tx.graph.layers(digests)
    steps = [step.created_by for step in config.history if not step.empty_layer][: len(layers)]
    return tuple(
        ImageLayer(
            layer,
            facts[layer.digest].diff_id if layer.digest in facts else None,
            facts[layer.digest].size if layer.digest in facts else None,
            created_by,
            layer.digest in present,
        )
        for layer, created_by in zip_longest(layers, steps, fillvalue="")
        if isinstance(layer, Descriptor)
    )
