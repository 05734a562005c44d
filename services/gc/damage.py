"""Which blobs are sound as far as a glance shows, and the mark on those that are known not to be.

Readers of rows take a blob that has a row for present. A writer must not: it would acknowledge an image that cannot be saved, and never
bring the blob again. To writers, and to whoever gives blobs away, a blob is present when `sound_blobs` says so.

A glance cannot find a byte that was flipped in a large file. Who hashes all of it does, and marks the blob, so that everyone knows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from services.content.protocol import ContentStore
from services.errors import Damaged, EngineError
from services.metadata.protocol import MetadataStore
from services.oci.digest import Digest

_GLANCE_BYTES = 64 << 10
"""Up to this size a blob is read and hashed in a glance: most manifests and configs, which name all the rest."""

_log = logging.getLogger(__name__)


def sound_blobs(content: ContentStore, unmarked: Mapping[Digest, int]) -> set[Digest]:
    """Which of these blobs have a file of their size, and a small one the right bytes; they are given as `Graph.unmarked` returns them."""
    return {
        digest
        for digest, size in unmarked.items()
        if content.size(digest) == size and (size > _GLANCE_BYTES or _is_itself(content, digest))
    }


def _is_itself(content: ContentStore, digest: Digest) -> bool:
    try:
        return Digest.of(content.read(digest), digest.algorithm) == digest
    except EngineError:
        return False  # what cannot be read now can be no help; nothing is marked


def file_problem(content: ContentStore, digest: Digest, size: int) -> str | None:
    """What is wrong with a blob's file that is seen without reading it."""
    found = content.size(digest)
    if found is None:
        return "has no file" if content.version(digest) is None else "is no file"
    return None if found == size else f"has {found} bytes instead of {size}"


def bytes_problem(digest: Digest, actual: Digest) -> str | None:
    """What is wrong with a blob whose bytes have this digest."""
    return None if actual == digest else f"holds other bytes: their digest is {actual}"


def damaged(digest: Digest, damage: str) -> Damaged:
    """The error for a blob that cannot be given away."""
    return Damaged(f"blob {digest} {damage}; load or pull the image again to repair it, or delete it")


def mark_blob(
    metadata: MetadataStore, content: ContentStore, digest: Digest, damage: str | None, *, version: tuple[int, ...] | None
) -> None:
    """Mark a blob as damaged, or as sound again, unless its file is no longer the `version` that was looked at, or a writer has it in hand.

    A failure is only logged: whoever found the damage has more important things to say.
    """
    try:
        with content.locked(digest) as alone:
            if not alone:
                return
            with metadata.write() as tx:
                if content.version(digest) == version:
                    tx.graph.mark(digest, damage)
    except EngineError:
        _log.warning("could not mark blob %s", digest, exc_info=True)
