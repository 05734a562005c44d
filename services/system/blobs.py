"""GET /stowage/blobs as a use case: what this store has, for another that is to send only the rest."""

from __future__ import annotations

from collections.abc import Iterator

from stowage.services.engine import Engine


def list_blobs(engine: Engine) -> Iterator[str]:
    """The digest of every blob that is not known to be damaged, in order, as lines."""
    with engine.metadata.read() as tx:
        blobs = tx.graph.unmarked(tx.graph.all_blobs())
    return (f"{digest}\n" for digest in sorted(blobs))
