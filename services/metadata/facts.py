"""Names, manifests and their edges as rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.records import Edge, ImageRecord, Kind, ManifestDocument, Role
from stowage.services.metadata.rows import (
    dump_descriptor,
    dump_labels,
    dump_platform,
    dump_timestamp,
    in_chunks,
    load_descriptor,
    load_labels,
    load_platform,
    load_timestamp,
    to_digest,
)
from stowage.services.metadata.tables import edge, image, manifest
from stowage.services.oci.digest import Digest

DANGLING, NO_DANGLING = "moby-dangling@", "moby-danglingA"
"""The names of untagged images begin with the first, and come before the second."""

RECORDS = select(image.c.name, image.c.descriptor, image.c.created_at, image.c.updated_at).order_by(image.c.name)
"""The columns that `to_record` reads, ordered by name."""

MANIFESTS = select(
    manifest.c.digest,
    manifest.c.media_type,
    manifest.c.kind,
    manifest.c.platform,
    manifest.c.created,
    manifest.c.labels,
)
"""The columns that `to_manifest` reads."""

_MANIFESTS = MANIFESTS.where(manifest.c.digest.in_(DIGESTS))
_EDGES = (
    select(edge.c.parent, edge.c.role, edge.c.descriptor)
    .where(edge.c.parent.in_(DIGESTS), edge.c.role != Role.REFERRER)
    .order_by(edge.c.parent, edge.c.position)
)
# Calling an enum to find a member takes ten times as long.
_KINDS = {str(kind): kind for kind in Kind}
_ROLES = {str(role): role for role in Role}


def to_record(row: Sequence[Any]) -> ImageRecord:
    name, descriptor, created_at, updated_at = row
    return ImageRecord(name, load_descriptor(descriptor), created_at, updated_at)


def to_manifest(row: Sequence[Any], edges: Mapping[str, Sequence[Edge]]) -> ManifestDocument:
    digest, media_type, kind, platform, created, labels = row
    return ManifestDocument(
        to_digest(digest),
        media_type,
        _KINDS[kind],
        load_platform(platform),
        load_timestamp(created),
        load_labels(labels),
        tuple(edges.get(digest, ())),
    )


def read_listed(connection: Connection, targets: Iterable[str]) -> dict[Digest, ManifestDocument]:
    """These targets and every present manifest and index that they list. Only those of an index have their edges."""
    found: dict[Digest, ManifestDocument] = {}
    level = set(targets)
    while level:
        rows = [row for chunk in in_chunks(level) for row in connection.execute(_MANIFESTS, {"digests": chunk})]
        edges = read_edges(connection, [digest for digest, _, kind, *_ in rows if kind == Kind.INDEX])
        found |= {facts.digest: facts for facts in (to_manifest(row, edges) for row in rows)}
        children = {edge.child.digest for listed in edges.values() for edge in listed}
        level = {str(child) for child in children if child not in found}
    return found


def read_edges(connection: Connection, parents: Iterable[Digest | str]) -> dict[str, list[Edge]]:
    """The edges that are listed in these manifests' documents, by the text of the manifest's digest."""
    edges: dict[str, list[Edge]] = defaultdict(list)
    for chunk in in_chunks(parents):
        for parent, role, descriptor in connection.execute(_EDGES, {"digests": chunk}).all():
            edges[parent].append(Edge(_ROLES[role], load_descriptor(descriptor)))
    return edges


def manifest_row(document: ManifestDocument) -> dict[str, object]:
    return {
        "digest": str(document.digest),
        "media_type": document.media_type,
        "kind": document.kind,
        "platform": dump_platform(document.platform),
        "created": dump_timestamp(document.created),
        "labels": dump_labels(document.labels),
    }


def edge_rows(parent: Digest, edges: Iterable[Edge], *, first: int = 0) -> list[dict[str, object]]:
    """The rows of these edges, whose positions begin at `first`."""
    return [
        {
            "parent": str(parent),
            "position": position,
            "child": str(each.child.digest),
            "role": each.role,
            "descriptor": dump_descriptor(each.child),
        }
        for position, each in enumerate(edges, first)
    ]
