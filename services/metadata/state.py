"""Everything about one image that can change, in one query. Content that is named by a digest never does."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Connection, bindparam, func, literal, select, union_all

from stowage.services.metadata.records import Role, State
from stowage.services.metadata.tables import config, edge, image, layer, manifest, source
from stowage.services.oci.digest import Digest


def _rows_about(target: ColumnElement[str]) -> CompoundSelect[Any]:
    """The names and sources of a target, and the present manifests, configs and layers below it, each with a size or a time."""
    first = select(target.label("digest")).cte("down", recursive=True)
    down = first.union(select(edge.c.child).join(first, edge.c.parent == first.c.digest).where(edge.c.role != Role.REFERRER))
    none = literal("")
    return union_all(
        select(literal("image"), image.c.name, image.c.descriptor, image.c.updated_at).where(image.c.target == target),
        select(literal("source"), source.c.registry, source.c.repository, literal(0)).where(source.c.digest == target),
        select(literal("manifest"), manifest.c.digest, none, manifest.c.content_size).select_from(
            down.outerjoin(manifest, down.c.digest == manifest.c.digest)  # an inner one would begin with all manifests
        ),
        select(literal("config"), config.c.manifest, none, func.length(config.c.raw)).select_from(
            down.outerjoin(config, down.c.digest == config.c.manifest)
        ),
        select(literal("layer"), layer.c.digest, none, layer.c.size).select_from(down.outerjoin(layer, down.c.digest == layer.c.digest)),
    )


_TARGET = select(image.c.target).limit(1)
_BY_NAME = _rows_about(_TARGET.where(image.c.name == bindparam("wanted")).scalar_subquery())
_BY_TARGET = _rows_about(_TARGET.where(image.c.target == bindparam("wanted")).scalar_subquery())


def read_state(connection: Connection, wanted: str | Digest) -> State:
    query = _BY_TARGET if isinstance(wanted, Digest) else _BY_NAME
    rows = connection.execute(query, {"wanted": str(wanted)}).all()
    return tuple(tuple(row) for row in rows if row[1] is not None)
