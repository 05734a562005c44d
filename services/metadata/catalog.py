"""The catalog: everything that lists show, read in one transaction."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection

from stowage.services.metadata.facts import MANIFESTS, read_edges, to_manifest
from stowage.services.metadata.images import RECORDS, to_record
from stowage.services.metadata.records import Catalog, ImageRecord, Kind, ManifestFacts

_Row = tuple[Any, ...]


class CatalogReader:
    """Reads the catalog of one store repeatedly: while a row is unchanged, it is decoded only once and its object is reused.

    Edges need not be compared: the manifest's digest determines them.
    """

    def __init__(self) -> None:
        self._records: dict[_Row, ImageRecord] = {}
        self._manifests: dict[_Row, ManifestFacts] = {}

    def read(self, connection: Connection, generation: int) -> Catalog:
        """The catalog as this transaction sees it."""
        records = map(tuple, connection.execute(RECORDS).all())
        self._records = {row: self._records.get(row) or to_record(row) for row in records}
        self._manifests = self._read_manifests(connection)
        manifests = {manifest.digest: manifest for manifest in self._manifests.values()}
        return Catalog(generation, tuple(self._records.values()), MappingProxyType(manifests))

    def _read_manifests(self, connection: Connection) -> dict[_Row, ManifestFacts]:
        rows = list(map(tuple, connection.execute(MANIFESTS).all()))
        new = [row for row in rows if row not in self._manifests]
        edges = read_edges(connection, [digest for digest, _, kind, *_ in new if kind == Kind.INDEX])
        return {row: self._manifests.get(row) or to_manifest(row, edges) for row in rows}
