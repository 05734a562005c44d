"""Which database a content folder belongs to. Any other one knows none of its blobs, and would take them for garbage.

A store has an id: a row of its database, and a file in its content folder. Where the ids are the same it is one store, also after a backup
was restored or the folder moved; where they differ there are two. A folder without an id is new, or was written before stores had ids. The
first database claims it that

- knows at least half of the blobs that are looked at: its own lacks the few that a killed process left, while that of another store may
  well know a base layer that both have;
- where there is no blob, has no image either: else the folder is one where its disk should be.
"""

from __future__ import annotations

from itertools import islice

from services.content.protocol import ContentStore
from services.metadata.protocol import MetadataStore

_LOOKED_AT = 1000
"""How many blobs of a folder without an id, so that a start costs the same whatever is there."""


def is_one_store(metadata: MetadataStore, content: ContentStore) -> bool:
    """Whether these blobs are those of this database, which claims them where they have no id yet; otherwise changes nothing."""
    claimed = content.store_id()
    if claimed is None and _may_claim(metadata, content):
        claimed = content.claim(metadata.store_id())
    return claimed == metadata.store_id()


def _may_claim(metadata: MetadataStore, content: ContentStore) -> bool:
    blobs = {digest for digest, _ in islice(content.blobs(), _LOOKED_AT)}
    if not blobs:
        return not metadata.catalog().images
    with metadata.read() as tx:
        return 2 * len(tx.graph.present(blobs)) >= len(blobs)
