"""What lists need of targets, found from the bottom up: what an index adds to the targets that list it is found once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stowage.services.metadata.labels import LabelHashes, weigh_labels
from stowage.services.metadata.records import Kind, ManifestFacts, Role
from stowage.services.metadata.summary import ManifestKind, ManifestSummary, PresentManifests, summarize_manifest
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor, is_reference
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import PlatformMatcher, best_match

_CHILD_WEIGHT = 100
"""The weight of what an index lists, besides its texts."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a manifest is to a list, or all manifests that an index lists are.

    `best` is the preferred image manifest, present or not, and `best_present` the preferred one that is present, of any kind. `weight` is
    about how many bytes the labels of the present platforms have, and what an index lists. `labels` are these labels, None without such a
    platform.
    """

    best: ManifestSummary | None = None
    best_present: ManifestSummary | None = None
    weight: int = 0
    labels: LabelHashes | None = None


_NOTHING = Part()


class Parts:
    """The parts of these manifests, each found once, as are the labels of each."""

    def __init__(self, manifests: PresentManifests, matcher: PlatformMatcher) -> None:
        self._manifests = manifests
        self._matcher = matcher
        self._indexes: dict[Digest, Part] = {}
        self._labels: dict[Digest, tuple[int, LabelHashes]] = {}

    def of(self, target: Descriptor) -> Part:
        """The part of a target. What it lists twice counts twice in the weight."""
        if mediatypes.is_manifest(target.media_type):
            return self._of_manifest(target)
        waiting = [target.digest]
        while waiting:
            digest = waiting[-1]
            unknown = {child.digest for child in self._listed(digest) if self._is_unknown(child)}
            if unknown and digest not in self._indexes:
                waiting += unknown
            else:
                waiting.pop()
                listed = list(self._listed(digest))
                self._indexes[digest] = self._together(map(self._known, listed), sum(_CHILD_WEIGHT + child.text_size for child in listed))
        return self._indexes[target.digest]

    def _listed(self, index: Digest) -> Iterator[Descriptor]:
        present = self._manifests.get(index)
        return (edge.child for edge in present.edges if edge.role is Role.MANIFEST) if present else iter(())

    def _is_unknown(self, child: Descriptor) -> bool:
        return not mediatypes.is_manifest(child.media_type) and child.digest not in self._indexes

    def _known(self, child: Descriptor) -> Part:
        return self._of_manifest(child) if mediatypes.is_manifest(child.media_type) else self._indexes[child.digest]

    def _of_manifest(self, descriptor: Descriptor) -> Part:
        facts = self._manifests.get(descriptor.digest)
        summary = summarize_manifest(descriptor, facts)
        best = summary if summary.kind is ManifestKind.IMAGE and self._matcher.matches(summary.platform) else None
        if facts is None:
            return Part(best)
        best_present = summary if self._matcher.matches(summary.platform) else None
        if facts.kind is not Kind.IMAGE or is_reference(descriptor):
            return Part(best, best_present)
        return Part(best, best_present, *self._labels_of(facts))

    def _labels_of(self, facts: ManifestFacts) -> tuple[int, LabelHashes]:
        if facts.digest not in self._labels:
            labels = facts.labels or {}
            self._labels[facts.digest] = weigh_labels(labels), LabelHashes.of(labels)
        return self._labels[facts.digest]

    def _together(self, parts: Iterable[Part], weight: int) -> Part:
        parts = [part for part in parts if part is not _NOTHING]
        if not parts:
            return Part(weight=weight) if weight else _NOTHING
        labels = {part.labels for part in parts if part.labels}
        return Part(
            self._preferred(part.best for part in parts),
            self._preferred(part.best_present for part in parts),
            sum((part.weight for part in parts), weight),
            LabelHashes.together(labels) if labels else None,
        )

    def _preferred(self, summaries: Iterable[ManifestSummary | None]) -> ManifestSummary | None:
        return best_match(((summary, summary.platform) for summary in summaries if summary), self._matcher)
