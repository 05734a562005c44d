"""The labels of an image, and the hashes by which `target_label` finds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b

from stowage.services.metadata.records import Kind
from stowage.services.metadata.summary import PresentManifests, walk_manifests
from stowage.services.oci.attestation import is_reference
from stowage.services.oci.descriptor import Descriptor

MANY_LABELS = 0
"""The hash that stands for all labels of a target with more than _MAX_HASHES."""

_MAX_HASHES = 512


def label_hash(key: str, value: str | None = None) -> int:
    """The hash by which a label, or any label with this key, is found."""
    text = f"{len(key)}:{key}" if value is None else f"{len(key)}:{key}={value}"  # either may contain any character
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), signed=True) or 1


def weigh_labels(labels: Mapping[str, str]) -> int:
    """The length of their keys and values."""
    return sum(len(key) + len(value) for key, value in labels.items())


def platform_labels(target: Descriptor, manifests: PresentManifests) -> Iterator[Mapping[str, str]]:
    """The labels of each present platform; attestations are none."""
    for descriptor in walk_manifests(target, manifests):
        manifest = manifests.get(descriptor.digest)
        if manifest is not None and manifest.kind is Kind.IMAGE and not is_reference(descriptor):
            yield manifest.labels or {}


def hash_labels(target: Descriptor, manifests: PresentManifests) -> dict[int, bool]:
    """The hashes of all labels and their keys; the value is whether every present platform has it."""
    found: dict[int, int] = {}
    platforms = 0
    for labels in platform_labels(target, manifests):
        platforms += 1
        for key, value in labels.items():
            for hashed in (label_hash(key), label_hash(key, value)):
                found[hashed] = found.get(hashed, 0) + 1
        if len(found) > _MAX_HASHES:
            return {MANY_LABELS: False}
    return {hashed: times == platforms for hashed, times in found.items()}
