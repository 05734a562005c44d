"""Which manifests of an index are for a platform, and which of them is the best.

Source: containerd core/images/handlers.go (FilterPlatforms, LimitManifests, SetReferrers); moby daemon/containerd/image_pull.go
(referrersList).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from stowage.services.oci import mediatypes
from stowage.services.oci.attestation import attestations_of
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.platform import Platform, PlatformMatcher

_T = TypeVar("_T")


def choose_manifests(listed: Sequence[Descriptor], matcher: PlatformMatcher) -> tuple[Descriptor, ...]:
    """The manifest (or nested index) for the platform, followed by its attestation if it has one; empty if none fits."""
    chosen = best_manifest((child for child in listed if _is_manifest(child)), matcher)
    return () if chosen is None else (chosen, *attestations_of([chosen], listed))


def wanted_manifests(listed: Sequence[Descriptor], matcher: PlatformMatcher) -> list[Descriptor]:
    """Everything that an index lists for a matching platform, or without a platform, followed by their attestations."""
    wanted = [child for child in listed if is_wanted(child, matcher)]
    return wanted + attestations_of(wanted, listed)


def is_wanted(child: Descriptor, matcher: PlatformMatcher) -> bool:
    """Whether an index lists this for a matching platform, or without a platform."""
    return child.platform is None or matcher.matches(child.platform)


def best_manifest(children: Iterable[Descriptor], matcher: PlatformMatcher) -> Descriptor | None:
    """The one that an index lists for the best platform, else the first that it lists without a platform."""
    children = list(children)
    chosen = best_match(((child, child.platform) for child in children if child.platform), matcher)
    return chosen or next((child for child in children if child.platform is None), None)


def best_match(offered: Iterable[tuple[_T, Platform]], matcher: PlatformMatcher) -> _T | None:
    """What is offered for the preferred matching platform, the first of equals; None if none matches."""
    best: tuple[_T, Platform] | None = None
    for candidate in offered:
        if matcher.matches(candidate[1]) and (best is None or matcher.less(candidate[1], best[1])):
            best = candidate
    return best and best[0]


def _is_manifest(child: Descriptor) -> bool:
    return mediatypes.is_manifest(child.media_type) or mediatypes.is_index(child.media_type)
