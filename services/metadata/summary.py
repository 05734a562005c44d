"""Summaries of images, derived from their present manifests: every platform, its sizes, and the platform to show.

Source: moby daemon/containerd/image_list.go (multiPlatformSummary), image_manifest.go (IsPseudoImage, getBestPresentImageManifest).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from stowage.services.errors import PlatformNotFound
from stowage.services.metadata.records import Edge, ImageRecord, Kind, ManifestDocument, Role
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor, is_reference, subject_of
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform, PlatformMatcher, best_match

if TYPE_CHECKING:
    from stowage.services.metadata.store import Transaction

PresentManifests = Mapping[Digest, ManifestDocument]
"""The present manifests and indexes of one or more images, by digest. A manifest that is listed but not in it is absent."""


class ManifestKind(StrEnum):
    """The kind of a manifest of an image, for users."""

    IMAGE = "image"
    ATTESTATION = "attestation"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class ManifestSummary:
    """One manifest that an image has or lists. `size` is the bytes of its present content, if they were asked for; `facts` is None if it is
    absent.
    """

    descriptor: Descriptor
    facts: ManifestDocument | None
    kind: ManifestKind
    platform: Platform
    attests: Digest | None = None
    size: int = 0

    @property
    def available(self) -> bool:
        return self.facts is not None


@dataclass(frozen=True, slots=True, eq=False)
class ImageSummary:
    """An image with its manifests in the order its indexes list them, depth first."""

    record: ImageRecord
    manifests: tuple[ManifestSummary, ...]

    def best(self, matcher: PlatformMatcher) -> ManifestSummary | None:
        """The preferred matching image manifest, present or not."""
        return best_image(self.manifests, matcher)

    def best_present(self, matcher: PlatformMatcher) -> ManifestSummary | None:
        """The preferred matching manifest of any kind that is present."""
        return best_present(self.manifests, matcher)


def best_image(manifests: Iterable[ManifestSummary], matcher: PlatformMatcher) -> ManifestSummary | None:
    """The preferred image manifest of these that matches, present or not."""
    return best_match(((manifest, manifest.platform) for manifest in manifests if manifest.kind is ManifestKind.IMAGE), matcher)


def best_present(manifests: Iterable[ManifestSummary], matcher: PlatformMatcher) -> ManifestSummary | None:
    """The preferred manifest of any kind of these that matches and is present."""
    return best_match(((manifest, manifest.platform) for manifest in manifests if manifest.available), matcher)


def summarize(record: ImageRecord, manifests: PresentManifests) -> ImageSummary:
    """Describe an image from all its present manifests."""
    return ImageSummary(record, summarize_manifests(record.target, manifests))


def summarize_manifests(target: Descriptor, manifests: PresentManifests) -> tuple[ManifestSummary, ...]:
    """Describe the manifests that a target is or lists."""
    return tuple(summarize_manifest(descriptor, manifests.get(descriptor.digest)) for descriptor in walk_manifests(target, manifests))


def read_manifests(tx: Transaction, target: Digest) -> dict[Digest, ManifestDocument]:
    """A target and every present manifest below it."""
    found: dict[Digest, ManifestDocument] = {}
    level = {target}
    while level:
        read = tx.graph.manifests(level)
        found |= read
        level = {edge.child.digest for facts in read.values() for edge in _manifest_edges(facts)} - found.keys()
    return found


def with_sizes(manifests: Iterable[ManifestSummary], sizes: Mapping[Digest, int]) -> tuple[ManifestSummary, ...]:
    """These manifests with the bytes of their content, as `Graph.content_sizes` has found them."""
    return tuple(replace(manifest, size=sizes.get(manifest.descriptor.digest, 0)) for manifest in manifests)


def walk_listed(target: Descriptor, manifests: PresentManifests) -> Iterator[Descriptor]:
    """A target and everything that it and its indexes list, present or not, depth first, as often as they list it.

    An index that is listed again is not entered again: three small ones could otherwise list billions.
    """
    waiting, entered = [target], set[Digest]()
    while waiting:
        descriptor = waiting.pop()
        yield descriptor
        present = None if mediatypes.is_manifest(descriptor.media_type) else manifests.get(descriptor.digest)
        if present and descriptor.digest not in entered:
            entered.add(descriptor.digest)
            waiting += [edge.child for edge in reversed(present.edges) if edge.role is Role.MANIFEST]


def walk_manifests(target: Descriptor, manifests: PresentManifests) -> Iterator[Descriptor]:
    """The image manifests among these."""
    return (descriptor for descriptor in walk_listed(target, manifests) if mediatypes.is_manifest(descriptor.media_type))


def any_platform(preferred: Platform) -> PlatformMatcher:
    """Every platform, the preferred one and what it can run first."""
    return PlatformMatcher.any_of((), preferred)


def platform_not_found(name: str, wanted: Platform | None) -> PlatformNotFound:
    """The error for an image without the requested platform."""
    what = f"the specified platform ({wanted})" if wanted else "any platform"
    return PlatformNotFound(f"image with reference {name} was found but does not provide {what}")


def _manifest_edges(facts: ManifestDocument) -> Iterator[Edge]:
    return (edge for edge in facts.edges if edge.role is Role.MANIFEST)


def is_pseudo(descriptor: Descriptor) -> bool:
    """Whether an index does not list this as an image: an attestation, or for the platform unknown/unknown (moby's IsPseudoImage)."""
    platform = descriptor.platform
    disowned = platform is not None and (platform.os, platform.architecture) == ("unknown", "unknown")
    return disowned or is_reference(descriptor)


def summarize_manifest(descriptor: Descriptor, facts: ManifestDocument | None) -> ManifestSummary:
    """Describe a manifest that an image is or lists, from its facts if it is present."""
    platform = descriptor.platform or (facts and facts.platform) or Platform()
    if is_reference(descriptor):
        attests = subject_of(descriptor)
        kind = ManifestKind.ATTESTATION if attests else ManifestKind.UNKNOWN
        return ManifestSummary(descriptor, facts, kind, platform, attests)
    artifact = facts is not None and facts.kind is not Kind.IMAGE
    kind = ManifestKind.UNKNOWN if artifact or is_pseudo(descriptor) else ManifestKind.IMAGE
    return ManifestSummary(descriptor, facts, kind, platform)
