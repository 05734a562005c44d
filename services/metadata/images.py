"""Names as rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import BindParameter, Connection, Executable, bindparam, delete, insert, select, update

from stowage.services.metadata.facts import RECORDS, to_record
from stowage.services.metadata.records import ImageRecord
from stowage.services.metadata.rows import dump_descriptor, in_chunks, to_digest
from stowage.services.metadata.tables import image, store
from stowage.services.metadata.targets import Upkeep
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest

_NAMES: BindParameter[list[str]] = bindparam("names", expanding=True)
_BY_NAME = RECORDS.where(image.c.name.in_(_NAMES))
_DELETE = delete(image).where(image.c.name.in_(_NAMES)).returning(image.c.target)
_BY_TARGET = RECORDS.where(image.c.target == bindparam("target"))
# Prefixes are ranges of the index: LIKE would ignore case and read every row.
_is_between = (image.c.name >= bindparam("first")) & (image.c.name < bindparam("beyond"))
_NAMES_BETWEEN = RECORDS.where(_is_between)
_FIRST_BETWEEN = (
    RECORDS.where(image.c.target >= bindparam("first"), image.c.target < bindparam("beyond"))
    .order_by(None)
    .order_by(image.c.target, image.c.name)
    .limit(1)
)


class Images:
    """Names. Lists are ordered by name."""

    def __init__(self, connection: Connection, upkeep: Upkeep) -> None:
        self._connection = connection
        self._upkeep = upkeep
        self._read: dict[str, ImageRecord | None] = {}  # what this transaction has read and not changed

    def get(self, name: str) -> ImageRecord | None:
        return self.named([name]).get(name)

    def named(self, names: Collection[str]) -> dict[str, ImageRecord]:
        """The records of those of these names that exist."""
        found = {record.name: record for chunk in in_chunks(names) for record in self._select(_BY_NAME, {"names": chunk})}
        self._read |= dict.fromkeys(names) | found
        return found

    def by_target(self, target: Digest, *, repository: str = "", most: int | None = None) -> list[ImageRecord]:
        """The first `most` records of a target; only those of one repository if its canonical `domain/path` is given."""
        query, values = _BY_TARGET, {"target": str(target)}
        if repository:
            query, values = query.where(_is_between), values | {"first": f"{repository}:", "beyond": f"{repository}A"}  # `@` is before `A`
        return self._select(query if most is None else query.limit(most), values)

    def by_id_prefix(self, prefix: str) -> list[ImageRecord]:
        """The first record of each target `sha256:<prefix>...`, of two targets at most; the prefix is 4 to 64 lower-case hex digits."""
        first, beyond = f"sha256:{prefix}", f"sha256:{prefix}g"
        found: list[ImageRecord] = []
        while len(found) < 2 and (new := self._select(_FIRST_BETWEEN, {"first": first, "beyond": beyond})):
            found += new
            first = f"{new[0].target.digest}:"  # after this target, and before any other
        return found

    def in_repository(self, repository: str) -> list[ImageRecord]:
        """Records named `repository:tag`, for a canonical `domain/path`."""
        return self._select(_NAMES_BETWEEN, {"first": f"{repository}:", "beyond": f"{repository};"})

    def put(self, name: str, target: Descriptor, now: int) -> None:
        """Give the name this target; `updated_at` changes only if its digest does. Raises Internal for a target without a manifest row."""
        if name not in self._read:
            self.get(name)
        known = self._read.pop(name)
        if known is not None and known.target == target:
            return
        self._upkeep.touch({target.digest, known.target.digest if known else target.digest})
        values = {"target": str(target.digest), "descriptor": dump_descriptor(target)}
        if known is None:
            self._connection.execute(insert(image).values(name=name, created_at=now, updated_at=now, **values))
        else:
            updated_at = known.updated_at if known.target.digest == target.digest else now
            self._connection.execute(update(image).where(image.c.name == name).values(updated_at=updated_at, **values))

    def delete(self, names: Iterable[str]) -> None:
        """Delete those of these names that exist."""
        self._read.clear()
        for chunk in in_chunks(names):
            self._upkeep.touch(set(map(to_digest, self._connection.scalars(_DELETE, {"names": chunk}))))

    def count(self) -> int:
        """How many distinct targets there are."""
        self._upkeep.flush()
        images: int = self._connection.scalars(select(store.c.images)).one()
        return images

    def _select(self, query: Executable, values: Mapping[str, str | list[str]]) -> list[ImageRecord]:
        return [to_record(row) for row in self._connection.execute(query, values)]
