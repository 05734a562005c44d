"""Give an image another name.

Source: moby daemon/containerd/image_tag.go, daemon/server/router/image/image_routes.go (postImagesTag).
"""

from __future__ import annotations

from stowage.services.engine import Engine
from stowage.services.errors import InvalidParameter, NotFound
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import any_platform, platform_not_found, read_manifests, summarize
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from stowage.services.store.events import Action, image_labels, log_image
from stowage.services.store.publish import assign_name
from stowage.services.store.resolve import familiar_name, resolve_image


def tag_image(engine: Engine, name: str, reference: Reference | None) -> bool:
    """Give the image `name` the tagged reference. Returns False, and does nothing, if it is None.

    An image that held the reference before stays, untagged if it has no other name.
    Raises InvalidParameter for the name `sha256`, and NotFound for a malformed or unknown `name`.
    """
    if reference is None:
        return False
    if reference.familiar_name == "sha256":
        raise InvalidParameter("refusing to create an ambiguous tag using digest algorithm as name")
    with engine.metadata.write() as tx:
        target = _find_target(tx, name, engine.platform)
        assign_name(tx, str(reference), target, engine.clock())
        log_image(tx, engine, Action.TAG, target.digest, name=reference.familiar, labels=image_labels(tx, engine, target.digest))
    return True


def _find_target(tx: Transaction, name: str, preferred: Platform) -> Descriptor:
    """The target to name, described as the first of its names describes it."""
    try:
        record = resolve_image(tx, name)
    except InvalidParameter as exc:
        raise NotFound(str(exc)) from exc
    if summarize(record, read_manifests(tx, record.target.digest)).best_present(any_platform(preferred)) is None:
        raise platform_not_found(familiar_name(record), None)
    return tx.images.by_target(record.target.digest, most=1)[0].target
