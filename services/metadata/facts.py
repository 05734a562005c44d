"""Manifest facts as rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Row, select

from services.metadata.protocol import Edge, Kind, ManifestFacts, Role
from services.metadata.rows import (
    dump_descriptor,
    dump_labels,
    dump_platform,
    dump_timestamp,
    load_descriptor,
    load_labels,
    load_platform,
    load_timestamp,
    to_digest,
)
from services.metadata.tables import edge, manifest

FACTS = select(
    manifest.c.digest, manifest.c.media_type, manifest.c.kind, manifest.c.content_size,
    manifest.c.platform, manifest.c.created, manifest.c.labels,
)
"""What `to_facts` reads."""

EDGES = select(edge.c.parent, edge.c.role, edge.c.descriptor).order_by(edge.c.parent, edge.c.position)
"""What `group_edges` reads."""


def to_facts(row: Row[str, str, str, int, str, str, str], edges: dict[str, list[Edge]]) -> ManifestFacts:
    digest, media_type, kind, content_size, platform, created, labels = row
    return ManifestFacts(
        to_digest(digest), media_type, Kind(kind), content_size,
        platform=load_platform(platform), created=load_timestamp(created), labels=load_labels(labels),
        edges=tuple(edges.get(digest, ())),
    )


def group_edges(rows: Iterable[Row[str, str, str]]) -> dict[str, list[Edge]]:
    """Edges by the text of their parent's digest."""
    edges: dict[str, list[Edge]] = defaultdict(list)
    for parent, role, descriptor in rows:
        edges[parent].append(Edge(Role(role), load_descriptor(descriptor)))
    return edges


def facts_row(facts: ManifestFacts) -> dict[str, object]:
    return {
        "digest": str(facts.digest), "media_type": facts.media_type, "kind": facts.kind, "content_size": 0,
        "platform": dump_platform(facts.platform), "created": dump_timestamp(facts.created), "labels": dump_labels(facts.labels),
    }


def edge_rows(facts: ManifestFacts) -> list[dict[str, object]]:
    return [
        {
            "parent": str(facts.digest), "position": position, "child": str(each.child.digest), "role": each.role,
            "descriptor": dump_descriptor(each.child),
        }
        for position, each in enumerate(facts.edges)
    ]
