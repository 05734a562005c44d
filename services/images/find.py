"""What people mean by a text that they have copied: the ID of an image, the digest of a layer, or the beginning of one."""

from __future__ import annotations

import re
from contextlib import suppress

from stowage.services.engine import Engine
from stowage.services.errors import InvalidReference, NotFound
from stowage.services.oci.digest import Digest
from stowage.services.store.resolve import resolve_image

_DIGEST = re.compile(r"(?:([a-z0-9]{1,20}):)?([a-f0-9]{8,128})")
"""With fewer digits, a blob is easily found by chance."""


def is_image(engine: Engine, text: str) -> bool:
    """Whether exactly one image is meant by this name, ID or beginning of an ID."""
    with engine.metadata.read() as tx, suppress(InvalidReference, NotFound):
        resolve_image(tx, text)
        return True
    return False


def find_blob(engine: Engine, text: str) -> Digest | None:
    """The blob with this digest, or the layer with this diff_id. The beginning is enough if it fits only one; `sha256:` may be left out."""
    match = _DIGEST.fullmatch(text.lower())
    if match is None:
        return None
    with engine.metadata.read() as tx:
        found = tx.graph.by_prefix(f"{match[1] or 'sha256'}:{match[2]}")
    return found[0] if len(found) == 1 else None
