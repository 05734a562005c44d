"""Kept lists of what is in layers that cannot be read: found without keeping writers waiting, and removed.

Such a list is damage of the database, or of another version of the format. It is derived from its layer, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator

from stowage.services.archive.file_list import FileList
from stowage.services.errors import InvalidContent
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest


def remove_unreadable_lists(metadata: MetadataStore) -> Iterator[Digest]:
    """Read every list, one at a time, and remove those that cannot be read; yields their layers."""
    after: Digest | None = None
    while page := _page(metadata, after):
        for digest in page:
            if not _is_readable(metadata, digest):
                with metadata.write() as tx:
                    tx.layer_files.remove([digest])
                yield digest
        after = page[-1]


def _page(metadata: MetadataStore, after: Digest | None) -> list[Digest]:
    with metadata.read() as tx:
        return tx.layer_files.digests(after)


def _is_readable(metadata: MetadataStore, digest: Digest) -> bool:
    """Whether the list is whole; also if it has just been removed with its layer, or replaced."""
    with metadata.read() as tx:
        kept = tx.layer_files.get([digest]).get(digest)
        if kept is None:
            return not tx.layer_files.has(digest)
    try:
        FileList.parse(kept)
    except InvalidContent:
        return False
    return True
