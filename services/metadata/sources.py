"""Where blobs can be found outside the store, as rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, insert, select

from stowage.services.metadata import tables
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
_PRESENT = select(tables.blob.c.digest).where(tables.blob.c.digest.in_(DIGESTS))


class SqlSources:
    """Implements `stowage.services.metadata.protocol.Sources`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, digests: Iterable[Digest], *, registry: str, repository: str) -> None:
        among = set(digests)
        known = {digest for digest, repositories in self.repositories(among, registry=registry).items() if repository in repositories}
        rows = [
            {"digest": digest, "registry": registry, "repository": repository}
            for chunk in in_chunks(among - known)
            for digest in self._connection.scalars(_PRESENT, {"digests": chunk})
        ]
        if rows:
            self._connection.execute(insert(tables.source), rows)

    def repositories(self, digests: Iterable[Digest], *, registry: str) -> dict[Digest, list[str]]:
        found: dict[Digest, list[str]] = defaultdict(list)
        for chunk in in_chunks(digests):
            for digest, repository in self._connection.execute(_SOURCES, {"digests": chunk, "registry": registry}):
                found[to_digest(digest)].append(repository)
        return dict(found)

    def names(self, digests: Iterable[Digest]) -> dict[Digest, list[str]]:
        found: dict[Digest, list[str]] = defaultdict(list)
        for chunk in in_chunks(digests):
            for digest, registry, repository in self._connection.execute(_NAMES, {"digests": chunk}):
                found[to_digest(digest)].append(f"{registry}/{repository}")
        return dict(found)
