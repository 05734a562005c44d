"""The labels of an image, and the hashes by which `target_label` finds them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from stowage.services.metadata.records import Kind
from stowage.services.metadata.summary import PresentManifests, walk_manifests
from stowage.services.oci.descriptor import Descriptor, is_reference

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


@dataclass(frozen=True, slots=True)
class LabelHashes:
    """The hashes of all labels and their keys of some platforms, and those that every one of the platforms has.

    With more than a few hundred, MANY_LABELS stands for all, and labels that are too many by themselves are not hashed.
    """

    some: frozenset[int]
    every: frozenset[int]

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> LabelHashes:
        """Those of one platform."""
        if 2 * len(labels) > _MAX_HASHES:
            return cls(frozenset([MANY_LABELS]), frozenset())
        hashes = frozenset(hashed for key, value in labels.items() for hashed in (label_hash(key), label_hash(key, value)))
        return cls._limited(hashes, hashes)

    @classmethod
    def together(cls, parts: Collection[LabelHashes]) -> LabelHashes:
        """Those of one or more platforms together."""
        return cls._limited(frozenset().union(*(each.some for each in parts)), frozenset.intersection(*(each.every for each in parts)))

    @classmethod
    def _limited(cls, some: frozenset[int], every: frozenset[int]) -> LabelHashes:
        if len(some) > _MAX_HASHES or MANY_LABELS in some:
            return cls(frozenset([MANY_LABELS]), frozenset())
        return cls(some, every)

    def columns(self) -> dict[int, bool]:
        """Each hash, and whether every platform has it."""
        return {hashed: hashed in self.every for hashed in self.some}
