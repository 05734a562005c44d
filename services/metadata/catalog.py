"""The catalog: everything that lists show, read in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import Connection, select

from services.metadata.facts import EDGES, FACTS, group_edges, to_facts
from services.metadata.images import RECORDS, to_record
from services.metadata.protocol import Catalog, Edge, Kind
from services.metadata.tables import edge, manifest

_INDEX_EDGES = EDGES.where(edge.c.parent.in_(select(manifest.c.digest).where(manifest.c.kind == Kind.INDEX)))


def read_catalog(connection: Connection, generation: int) -> Catalog:
    """Read every image, and the facts of every manifest that is a target or is listed by one, at any depth.

    Only an index's facts have their edges: what an image's layers are is asked one image at a time.
    """
    images = tuple(to_record(row) for row in connection.execute(RECORDS).all())
    edges = group_edges(connection.execute(_INDEX_EDGES).all())
    listed = _listed((str(image.target.digest) for image in images), edges)
    facts = [to_facts(row, edges) for row in connection.execute(FACTS).all() if row.digest in listed]
    return Catalog(generation, images, MappingProxyType({each.digest: each for each in facts}))


def _listed(targets: Iterable[str], edges: Mapping[str, Sequence[Edge]]) -> set[str]:
    """The targets and everything below them, through indexes alone."""
    listed: set[str] = set()
    waiting = set(targets)
    while waiting:
        listed |= waiting
        waiting = {str(each.child.digest) for parent in waiting for each in edges.get(parent, ())} - listed
    return listed
