"""Which manifests of an index are for a platform, which is the best of them, and which go with them: their attestations.

Source: containerd core/images/handlers.go (FilterPlatforms, LimitManifests, SetReferrers); moby daemon/containerd/image_pull.go
(referrersList).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cmp_to_key

from services.images.summary import REFERENCE_DIGEST, REFERENCE_TYPE
from services.oci import mediatypes
from services.oci.descriptor import Descriptor
from services.oci.platform import PlatformMatcher

_ATTESTATION = "attestation-manifest"


def choose_manifests(listed: Sequence[Descriptor], matcher: PlatformMatcher) -> tuple[Descriptor, ...]:
    """The manifest (or nested index) for the platform, followed by its attestation if it has one; empty where none fits.

    One that says no platform fits any, after those that say one; of equals the first is taken. Of several attestations the last counts.
    """
    chosen = best_manifest((child for child in listed if _is_manifest(child) and is_wanted(child, matcher)), matcher)
    if chosen is None:
        return ()
    return chosen, *_attestations(listed, [chosen])


def wanted_manifests(listed: Sequence[Descriptor], matcher: PlatformMatcher) -> list[Descriptor]:
    """All that an index lists for a platform that matches, or for none, followed by their attestations; the last of several counts."""
    wanted = [child for child in listed if is_wanted(child, matcher)]
    return wanted + _attestations(listed, wanted)


def is_wanted(child: Descriptor, matcher: PlatformMatcher) -> bool:
    """Whether an index lists this for a platform that matches, or for none."""
    return child.platform is None or matcher.matches(child.platform)


def best_manifest(children: Iterable[Descriptor], matcher: PlatformMatcher) -> Descriptor | None:
    """The one that is preferred: of equals the first, and what says no platform after those that say one."""

    def compare(left: Descriptor, right: Descriptor) -> int:
        return _compare(left, right, matcher)

    return min(children, key=cmp_to_key(compare), default=None)


def _is_manifest(child: Descriptor) -> bool:
    return mediatypes.is_manifest(child.media_type) or mediatypes.is_index(child.media_type)


def _compare(left: Descriptor, right: Descriptor, matcher: PlatformMatcher) -> int:
    if left.platform is None or right.platform is None:
        return (left.platform is None) - (right.platform is None)
    return matcher.less(right.platform, left.platform) - matcher.less(left.platform, right.platform)


def _attestations(listed: Iterable[Descriptor], subjects: Iterable[Descriptor]) -> list[Descriptor]:
    """The last that the index lists of each subject."""
    last = {child.annotations.get(REFERENCE_DIGEST): child for child in listed if _is_attestation(child)}
    return [last[digest] for digest in (str(subject.digest) for subject in subjects) if digest in last]


def _is_attestation(child: Descriptor) -> bool:
    return mediatypes.is_manifest(child.media_type) and child.annotations.get(REFERENCE_TYPE) == _ATTESTATION
