"""What a content store in a bucket asks the database, each in a transaction of its own, or with one query."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest


class MetadataObjects:
    """Implements `stowage.services.content.objects.ObjectRecords`."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

    def locations(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        return self._metadata.locations(digests)

    def blobs(self) -> Iterator[tuple[Digest, int]]:
        with self._metadata.read() as tx:
            found = tx.objects.sizes()
        yield from found.items()

    def named(self, locations: Collection[str]) -> set[str]:
        with self._metadata.read() as tx:
            return tx.objects.named(locations)

    def intend(self, lease: str, locations: Collection[str]) -> None:
        with self._metadata.write() as tx:
            tx.objects.intend(lease, locations)

    def doomed(self, *, age: int, limit: int) -> list[tuple[str, int]]:
        return self._metadata.doomed(age=age, limit=limit)

    def doomed_of(self, digests: Iterable[Digest]) -> list[tuple[str, Digest, int, int]]:
        with self._metadata.read() as tx:
            return tx.objects.doomed_of(digests)

    def forget(self, locations: Iterable[str]) -> None:
        with self._metadata.write() as tx:
            tx.objects.forget(locations)
