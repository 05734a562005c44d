"""The part of an image that is pushed or saved for one platform, or instead of an incomplete index.

Source: moby daemon/containerd/image_push.go (getPushDescriptor).
"""

from __future__ import annotations

from stowage.services.errors import Conflict
from stowage.services.metadata.records import ImageRecord
from stowage.services.metadata.summary import PresentManifests, any_platform, platform_not_found, walk_manifests
from stowage.services.oci.descriptor import Descriptor, is_reference
from stowage.services.oci.platform import Platform, PlatformMatcher, best_match
from stowage.services.store.resolve import familiar_name


def choose_target(record: ImageRecord, manifests: PresentManifests, *, platform: Platform | None, preferred: Platform) -> Descriptor:
    """The one present manifest for exactly this platform.

    Without a platform: the image's own target if none of its manifests is absent, else the only one present, or the one for the
    `preferred` platform. Raises NotFound if nothing fits, Conflict if several do.
    """
    listed = list(walk_manifests(record.target, manifests))
    matcher = PlatformMatcher.only_strict(platform) if platform else any_platform(preferred)
    present = {
        child: child.platform or manifests[child.digest].platform or Platform()
        for child in listed
        if child.digest in manifests and not is_reference(child)
    }
    matching = [child for child, offered in present.items() if matcher.matches(offered)]
    if not matching:
        raise platform_not_found(familiar_name(record), platform)
    if platform:
        return _only(matching, f"multiple manifests found for platform {platform}")
    if all(child.digest in manifests for child in listed):
        return record.target
    best = best_match(present.items(), matcher)
    if best and PlatformMatcher.only(preferred).matches(present[best]):
        return best
    return _only(matching, "multiple matching manifests found but no specific platform requested")


def _only(matching: list[Descriptor], otherwise: str) -> Descriptor:
    if len(matching) > 1:
        raise Conflict(otherwise)
    return matching[0]
