"""Everything that a metadata store has, for tests of small ones."""

from __future__ import annotations

from stowage.services.metadata.records import ImageRecord, ManifestDocument, Selection, Target
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest


def all_records(metadata: MetadataStore) -> tuple[ImageRecord, ...]:
    """Every record, ordered by name."""
    records = (record for target in listed(metadata) for record in target.records)
    return tuple(sorted(records, key=lambda record: record.name))


def listed(metadata: MetadataStore) -> list[Target]:
    """The targets in the order of a list."""
    with metadata.read() as tx:
        return tx.targets.read(tx.targets.find(Selection()))


def all_manifests(metadata: MetadataStore) -> dict[Digest, ManifestDocument]:
    """The facts of every manifest."""
    with metadata.read() as tx:
        return tx.graph.manifests(tx.graph.all_manifests())
