"""Repositories of registries that hold blobs, as rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, exists, insert, select

from stowage.services.metadata import tables
from stowage.services.metadata.column_types import TEXT
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.rows import in_chunks, to_digest
from stowage.services.oci.digest import Digest

_SOURCES = (
    select(tables.source.c.digest, tables.source.c.repository)
    .where(tables.source.c.digest.in_(DIGESTS), tables.source.c.registry == bindparam("registry"))
    .order_by(tables.source.c.digest, tables.source.c.repository)
)
_NAMES = (
    select(tables.source.c.digest, tables.source.c.registry, tables.source.c.repository)
    .where(tables.source.c.digest.in_(DIGESTS))
    .order_by(tables.source.c.digest, tables.source.c.registry, tables.source.c.repository)
)
_at, _in = bindparam("at", type_=TEXT), bindparam("in", type_=TEXT)
_ADD = insert(tables.source).from_select(
    [tables.source.c.digest, tables.source.c.registry, tables.source.c.repository],
    select(tables.blob.c.digest, _at, _in).where(
        tables.blob.c.digest.in_(DIGESTS),
        ~exists().where(tables.source.c.digest == tables.blob.c.digest, tables.source.c.registry == _at, tables.source.c.repository == _in),
    ),
)


class Sources:
    """Repositories that hold a blob, as pulls and pushes have found; a registry is the `host[:port]` of a reference."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, digests: Iterable[Digest], *, registry: str, repository: str) -> None:
        """Record the repository for those of the blobs that are present; recording it again changes nothing."""
        for chunk in in_chunks(digests):
            self._connection.execute(_ADD, {"digests": chunk, "at": registry, "in": repository})

    def repositories(self, digests: Iterable[Digest], *, registry: str) -> dict[Digest, list[str]]:
        """The known repositories of this registry, ordered by name, per blob that has any."""
        found: dict[Digest, list[str]] = defaultdict(list)
        for chunk in in_chunks(digests):
            for digest, repository in self._connection.execute(_SOURCES, {"digests": chunk, "registry": registry}):
                found[to_digest(digest)].append(repository)
        return dict(found)

    def names(self, digests: Iterable[Digest]) -> dict[Digest, list[str]]:
        """The full names, `registry/repository`, at every registry, ordered by registry and repository, per blob that has any."""
        found: dict[Digest, list[str]] = defaultdict(list)
        for chunk in in_chunks(digests):
            for digest, registry, repository in self._connection.execute(_NAMES, {"digests": chunk}):
                found[to_digest(digest)].append(f"{registry}/{repository}")
        return dict(found)
