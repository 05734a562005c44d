"""What an image consists of, derived from its present manifests: every platform, its sizes, and the platform to show.

Source: moby daemon/containerd/image_list.go (multiPlatformSummary), image_manifest.go (IsPseudoImage, getBestPresentImageManifest).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from stowage.services.errors import PlatformNotFound
from stowage.services.metadata.records import Edge, ImageRecord, Kind, ManifestFacts, Role
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor, is_reference, subject_of
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform, PlatformMatcher, best_match

if TYPE_CHECKING:
    from stowage.services.metadata.store import Transaction

PresentManifests = Mapping[Digest, ManifestFacts]
"""The present manifests and indexes of one or more images, by digest. A manifest that is listed but not in it is absent."""


class ManifestKind(StrEnum):
    """What a manifest of an image is to its user."""

    IMAGE = "image"
    ATTESTATION = "attestation"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class ManifestSummary:
    """One manifest that an image has or lists. `size` is the bytes of its present content; `facts` is None if it is absent."""

    descriptor: Descriptor
    facts: ManifestFacts | None
    kind: ManifestKind
    platform: Platform
    attests: Digest | None = None

    @property
    def available(self) -> bool:
        return self.facts is not None

    @property
    def size(self) -> int:
        return self.facts.content_size if self.facts else 0


@dataclass(frozen=True, slots=True, eq=False)
class ImageSummary:
    """An image with its manifests in the order its indexes list them, depth first. `size` is the bytes of its present content."""

    record: ImageRecord
    manifests: tuple[ManifestSummary, ...]
    size: int

    def best(self, matcher: PlatformMatcher) -> ManifestSummary | None:
        """The preferred matching image manifest, present or not."""
        images = ((manifest, manifest.platform) for manifest in self.manifests if manifest.kind is ManifestKind.IMAGE)
        return best_match(images, matcher)

    def best_present(self, matcher: PlatformMatcher) -> ManifestSummary | None:
        """The preferred matching manifest of any kind that is present."""
        return best_match(((manifest, manifest.platform) for manifest in self.manifests if manifest.available), matcher)


def summarize(record: ImageRecord, manifests: PresentManifests) -> ImageSummary:
    """Describe an image from all its present manifests."""
    target = manifests[record.target.digest]
    listed = walk_manifests(record.target, manifests)
    summaries = tuple(summarize_manifest(descriptor, manifests.get(descriptor.digest)) for descriptor in listed)
    return ImageSummary(record, summaries, target.content_size)


def read_manifests(tx: Transaction, target: Digest) -> dict[Digest, ManifestFacts]:
    """A target and every present manifest below it."""
    found: dict[Digest, ManifestFacts] = {}
    level = {target}
    while level:
        read = tx.graph.manifests(level)
        found |= read
        level = {edge.child.digest for facts in read.values() for edge in _manifest_edges(facts)} - found.keys()
    return found


def walk_manifests(target: Descriptor, manifests: PresentManifests) -> Iterator[Descriptor]:
    """The descriptors of the image manifests that a target is or lists, present or not, depth first, as often as they are listed.

    An index that is listed again is not entered again: three small ones could otherwise list billions.
    """
    if mediatypes.is_manifest(target.media_type):
        yield target
        return
    waiting, entered = [target], set[Digest]()
    while waiting:
        descriptor = waiting.pop()
        if mediatypes.is_manifest(descriptor.media_type):
            yield descriptor
        elif descriptor.digest not in entered and (present := manifests.get(descriptor.digest)):
            entered.add(descriptor.digest)
            waiting += [edge.child for edge in reversed(present.edges) if edge.role is Role.MANIFEST]


def walk_present(target: Digest, manifests: PresentManifests) -> Iterator[Digest]:
    """The present indexes and manifests that a target is or lists, depth first, as often as they are listed; each is entered once."""
    waiting, entered = [target], set[Digest]()
    while waiting:
        digest = waiting.pop()
        if present := manifests.get(digest):
            yield digest
            if digest not in entered:
                entered.add(digest)
                waiting += [edge.child.digest for edge in reversed(present.edges) if edge.role is Role.MANIFEST]


def any_platform(preferred: Platform) -> PlatformMatcher:
    """Every platform, the preferred one and what it can run first."""
    return PlatformMatcher.any_of((), preferred)


def platform_not_found(name: str, wanted: Platform | None) -> PlatformNotFound:
    """The error for an image without the requested platform."""
    what = f"the specified platform ({wanted})" if wanted else "any platform"
    return PlatformNotFound(f"image with reference {name} was found but does not provide {what}")


def _manifest_edges(facts: ManifestFacts) -> Iterator[Edge]:
    return (edge for edge in facts.edges if edge.role is Role.MANIFEST)


def is_pseudo(descriptor: Descriptor) -> bool:
    """Whether an index does not list this as an image: an attestation, or for the platform unknown/unknown (moby's IsPseudoImage)."""
    platform = descriptor.platform
    disowned = platform is not None and (platform.os, platform.architecture) == ("unknown", "unknown")
    return disowned or is_reference(descriptor)


def summarize_manifest(descriptor: Descriptor, facts: ManifestFacts | None) -> ManifestSummary:
    """Describe a manifest that an image is or lists, from its facts if it is present."""
    platform = descriptor.platform or (facts and facts.platform) or Platform()
    if is_reference(descriptor):
        attests = subject_of(descriptor)
        kind = ManifestKind.ATTESTATION if attests else ManifestKind.UNKNOWN
        return ManifestSummary(descriptor, facts, kind, platform, attests)
    artifact = facts is not None and facts.kind is not Kind.IMAGE
    kind = ManifestKind.UNKNOWN if artifact or is_pseudo(descriptor) else ManifestKind.IMAGE
    return ManifestSummary(descriptor, facts, kind, platform)
