"""Objects in a bucket as rows: intents, doomed objects, and the locations of blobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select, union_all

from stowage.services.errors import Internal
from stowage.services.metadata.clock import NOW
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.rows import in_chunks, to_digest
from stowage.services.metadata.tables import blob, doomed, intent, lease
from stowage.services.oci.digest import Digest

if TYPE_CHECKING:
    from stowage.services.metadata.store import MetadataStore

_LOCATIONS = select(blob.c.digest, blob.c.location).where(blob.c.digest.in_(DIGESTS))
_CONSUME = delete(intent).where(intent.c.location.in_(DIGESTS)).returning(intent.c.location)
_DOOMED = [doomed.c.location, doomed.c.digest, doomed.c.size, doomed.c.since]


class Objects:
    """Objects that have the bytes of blobs, that are being written, and that are to be removed. A location is used once.

    An *intent* names an object that is being written under a lease: recording the blob consumes it, and the end of the lease dooms the
    object. An object is also *doomed* in the transaction that removes the row of its blob or gives it another location.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def locations(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """The location of each of these blobs that has a row; empty if its bytes are in a file of its digest."""
        rows = (row for chunk in in_chunks(digests) for row in self._connection.execute(_LOCATIONS, {"digests": chunk}))
        return {to_digest(digest): location for digest, location in rows}

    def digests(self, locations: Iterable[str]) -> dict[str, Digest]:
        """The blobs that have these locations."""
        query = select(blob.c.location, blob.c.digest)
        rows = (row for chunk in in_chunks(locations) for row in self._connection.execute(query.where(blob.c.location.in_(chunk))))
        return {location: to_digest(digest) for location, digest in rows}

    def sizes(self) -> dict[Digest, int]:
        """Every blob that has a location, and its size."""
        query = select(blob.c.digest, blob.c.size).where(blob.c.location != "")
        return {to_digest(digest): size for digest, size in self._connection.execute(query)}

    def named(self, locations: Collection[str]) -> set[str]:
        """Which of these locations a blob, an intent or a doomed row has."""
        found: set[str] = set()
        for chunk in in_chunks(locations):
            columns = (blob.c.location, intent.c.location, doomed.c.location)
            found.update(self._connection.scalars(union_all(*(select(column).where(column.in_(chunk)) for column in columns))))
        return found

    def intend(self, lease: str, locations: Collection[str]) -> None:
        """Record that these objects are going to be written; raises Internal for a lease that has ended."""
        require_lease(self._connection, lease)
        insert_intents(self._connection, lease, locations)

    def doomed(self, *, age: int, limit: int) -> list[tuple[str, int]]:
        """Objects that have been doomed for at least `age` seconds, and their sizes, 0 if unknown; the first ones first."""
        query = select(doomed.c.location, doomed.c.size).where(doomed.c.since <= NOW - age).order_by(doomed.c.since).limit(limit)
        return [(location, size) for location, size in self._connection.execute(query)]

    def doomed_of(self, digests: Iterable[Digest]) -> list[tuple[str, Digest, int, int]]:
        """Doomed objects of these blobs: location, digest, size, and for how many seconds they have been doomed."""
        query = select(doomed.c.location, doomed.c.digest, doomed.c.size, (NOW - doomed.c.since).label("age"))
        rows = (row for chunk in in_chunks(digests) for row in self._connection.execute(query.where(doomed.c.digest.in_(chunk))))
        return [(location, to_digest(digest), size, age) for location, digest, size, age in rows]

    def forget(self, locations: Iterable[str]) -> None:
        """Remove the doomed rows of objects that were removed."""
        for chunk in in_chunks(locations):
            self._connection.execute(delete(doomed).where(doomed.c.location.in_(chunk)))


def require_lease(connection: Connection, identifier: str) -> None:
    """Refuse a lease that was ended as abandoned while its holder did not renew it: what it held may have been removed."""
    if connection.scalar(select(lease.c.id).where(lease.c.id == identifier)) is None:
        raise Internal(f"the lease {identifier} has ended: it was not renewed in time")


def insert_intents(connection: Connection, identifier: str, locations: Iterable[str]) -> None:
    """Record that these objects are going to be written under a lease that exists."""
    if rows := [{"location": location, "lease": identifier} for location in locations]:
        connection.execute(insert(intent).values(written=NOW), rows)


def consume_intents(connection: Connection, locations: Mapping[Digest, str]) -> None:
    """Remove the intents of these blobs' objects, which get a row now. Raises Internal if one is gone: its object may be removed."""
    for chunk in in_chunks(locations.values()):
        if len(connection.execute(_CONSUME, {"digests": chunk}).all()) != len(chunk):
            raise Internal("the lease under which a blob was written has ended: it was not renewed in time")


def doom_intents(connection: Connection, identifier: str) -> None:
    """Doom the objects that were written under a lease and have got no row."""
    gone = connection.scalars(delete(intent).where(intent.c.lease == identifier).returning(intent.c.location)).all()
    if gone:
        connection.execute(insert(doomed).values(size=0, since=NOW), [{"location": location} for location in gone])


def doom_blobs(connection: Connection, digests: Iterable[Digest]) -> None:
    """Doom the objects of these blobs, whose rows are removed or get another location."""
    columns = select(blob.c.location, blob.c.digest, blob.c.size, NOW).where(blob.c.location != "")
    for chunk in in_chunks(digests):
        connection.execute(insert(doomed).from_select(_DOOMED, columns.where(blob.c.digest.in_(chunk))))


class MetadataObjects:
    """Implements `ObjectRecords`, each call in a transaction of its own or with one query."""

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
