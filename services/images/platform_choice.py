"""Which manifests of an index a pull takes: the best for one platform, and the attestation that belongs to it.

Source: containerd core/images/handlers.go (FilterPlatforms, LimitManifests); moby daemon/containerd/image_pull.go (referrersList).
"""

from __future__ import annotations

from collections.abc import Sequence
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
    fitting = [child for child in listed if _is_manifest(child) and (child.platform is None or matcher.matches(child.platform))]
    if not fitting:
        return ()

    def compare(left: Descriptor, right: Descriptor) -> int:
        return _compare(left, right, matcher)

    chosen = min(fitting, key=cmp_to_key(compare))
    return chosen, *[child for child in listed if _attests(child, chosen)][-1:]


def _is_manifest(child: Descriptor) -> bool:
    return mediatypes.is_manifest(child.media_type) or mediatypes.is_index(child.media_type)


def _compare(left: Descriptor, right: Descriptor, matcher: PlatformMatcher) -> int:
    if left.platform is None or right.platform is None:
        return (left.platform is None) - (right.platform is None)
    return matcher.less(right.platform, left.platform) - matcher.less(left.platform, right.platform)


def _attests(child: Descriptor, chosen: Descriptor) -> bool:
    annotations = child.annotations
    return (
        mediatypes.is_manifest(child.media_type)
        and annotations.get(REFERENCE_TYPE) == _ATTESTATION
        and annotations.get(REFERENCE_DIGEST) == str(chosen.digest)
    )
