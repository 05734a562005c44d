"""The database that a content folder belongs to. Any other database has no rows for its blobs, and would treat them as garbage.

A store has an id: a row of its database, and a file in its content folder. If the ids are the same it is one store, even after a backup
was restored or the folder moved; if they differ there are two. A folder without an id is new, or was written before stores had ids. It is
claimed by the first database that

- knows at least half of the blobs examined: the folder's own database lacks rows only for the few that a killed process left, while that of
  another store may know a base layer that both have;
- if there is no blob, has no image either, and no other folder: otherwise the folder is probably an empty mount point whose disk is
  missing, or the wrong folder. So the database notes when a folder has its id.
"""

from __future__ import annotations

from itertools import islice

from stowage.services.content.protocol import ContentStore
from stowage.services.metadata.store import MetadataStore

_LOOKED_AT = 1000
"""How many blobs of a folder without an id are examined, so that a start costs the same for any folder."""


def is_one_store(metadata: MetadataStore, content: ContentStore) -> bool:
    """Whether these blobs are those of this database, which claims them if they have no id yet; otherwise changes nothing."""
    own, claimed = metadata.store_id(), content.store_id()
    if claimed is None:  # looked at again at the end: another process may have claimed the folder in the meantime
        claimed = content.claim(own) if _may_claim(metadata, content) else content.store_id()
    if claimed != own:
        return False
    if not metadata.is_claimed():
        metadata.note_claim()
    return True


def _may_claim(metadata: MetadataStore, content: ContentStore) -> bool:
    blobs = {digest for digest, _ in islice(content.blobs(), _LOOKED_AT)}
    with metadata.read() as tx:
        return 2 * len(tx.graph.present(blobs)) >= len(blobs) if blobs else tx.images.count() == 0 and not metadata.is_claimed()
