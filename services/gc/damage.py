"""A quick check of blobs, and the mark on blobs that are known to be damaged.

Readers of rows treat a blob that has a row as present. A writer must not: it would acknowledge an image that cannot be saved, and never
store the blob again. To writers, and to code that serves blobs, a blob is present if `sound_blobs` says so.

The quick check does not find a flipped byte in a large file. Code that hashes the whole file does, and marks the blob for all others.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from stowage.services.content.protocol import ContentStore, Place, Version, location_of
from stowage.services.errors import Damaged, EngineError
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest

_GLANCE_BYTES = 64 << 10
"""A glance reads and hashes blobs up to this size: most manifests and configs, which name all other blobs."""

_log = logging.getLogger(__name__)


def sound_blobs(content: ContentStore, unmarked: Mapping[Digest, int]) -> set[Digest]:
    """Which of these blobs, as `Graph.unmarked` returns them, have a file of the right size and, if small, the right bytes."""
    places = content.places(unmarked)
    right = {digest: place for digest, place in places.items() if place.size == unmarked[digest]}
    return {digest for digest, place in right.items() if place.size > _GLANCE_BYTES or _is_itself(place, digest)}


def _is_itself(place: Place, digest: Digest) -> bool:
    try:
        return Digest.of(place.read(), digest.algorithm) == digest
    except EngineError:
        return False  # it cannot be used now; nothing is marked, since the error may be temporary


def file_problem(content: ContentStore, digest: Digest, size: int) -> str | None:
    """What is wrong with a blob's file, as far as that can be seen without reading it."""
    found = content.size(digest)
    if found is None:
        version = content.version(digest)
        if location := location_of(version):
            return f"has no object: {location} is gone from the bucket"
        return "has no file" if version is None else "is not a readable file"
    return None if found == size else f"has {found} bytes instead of {size}"


def bytes_problem(digest: Digest, actual: Digest) -> str | None:
    """What is wrong with a blob whose bytes have this digest."""
    return None if actual == digest else f"holds other bytes: their digest is {actual}"


def damaged(digest: Digest, damage: str) -> Damaged:
    """The error for a blob that cannot be served."""
    return Damaged(f"blob {digest} {damage}; load or pull the image again to repair it, or delete it")


def mark_blob(metadata: MetadataStore, content: ContentStore, digest: Digest, damage: str | None, *, version: Version | None) -> None:
    """Mark a blob as damaged, or as sound again, unless its file is no longer the `version` that was examined, or a writer is writing it.

    A failure is only logged: reporting the damage itself matters more.
    """
    try:
        with content.locked(digest) as alone:
            if not alone:
                return
            if content.version(digest) == version:
                with metadata.write() as tx:
                    tx.graph.mark(digest, damage, location_of(version))
    except EngineError:
        _log.warning("could not mark blob %s", digest, exc_info=True)
