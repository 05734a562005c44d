"""Users of blobs, counted by the database from `reach`."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, case, cast, func, literal, select, text

from stowage.services.metadata import reach, tables
from stowage.services.metadata.clock import NOW
from stowage.services.metadata.facts import DANGLING
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.records import Role, RowCounts
from stowage.services.metadata.rows import CHUNK, in_chunks, to_digest
from stowage.services.metadata.targets import Upkeep
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import DANGLING_PREFIX, name_forms

_ALL = 1 << 62
_MANY = 2000
"""Of more targets than these, one pass over all rows finds the shared bytes sooner than looking up each of their digests."""

_blob, _target, _edge, _layer, _reach = tables.blob, tables.target, tables.edge, tables.layer, tables.reach
_TOTAL = select(func.count(), cast(func.coalesce(func.sum(_blob.c.size), 0), BigInteger)).select_from(_blob)
# Outer joins keep SQLite from reading the larger table first: without statistics it takes every blob, and looks it up in the other.
_common = select(_reach.c.digest, func.count().label("users")).group_by(_reach.c.digest).having(func.count() > 1).subquery()
_common_blobs = _common.outerjoin(_blob, _blob.c.digest == _common.c.digest)
_AMOUNT_SHARED = select(func.count(_blob.c.digest), cast(func.coalesce(func.sum(_blob.c.size), 0), BigInteger)).select_from(_common_blobs)
_LARGEST_SHARED = (
    select(_blob.c.digest, _blob.c.size, _common.c.users)
    .select_from(_common_blobs)
    .where(_blob.c.digest.is_not(None))
    .order_by(_blob.c.size.desc(), _blob.c.digest)
    .limit(bindparam("most"))
)
_bytes = cast(func.sum(_blob.c.size), BigInteger).label("bytes")
_ALL_SHARED = (
    select(_reach.c.target, _bytes)
    .select_from(_common_blobs.outerjoin(_reach, _reach.c.digest == _common.c.digest))
    .where(_blob.c.digest.is_not(None))
    .group_by(_reach.c.target)
)
_other = _reach.alias("other")
_SHARED_OF = (
    select(_reach.c.target, _bytes)
    .select_from(_reach.outerjoin(_blob, _blob.c.digest == _reach.c.digest))
    .where(
        _reach.c.target.in_(bindparam("ids", expanding=True)),
        reach.is_found(select(_other.c.target).where(_other.c.digest == _reach.c.digest, _other.c.target != _reach.c.target)),
    )
    .group_by(_reach.c.target)
)
# What is left of a name without the characters after its last colon: SQL has no function that looks from the end.
_repository = func.rtrim(_target.c.first_name, func.replace(_target.c.first_name, ":", ""))
_shared = _ALL_SHARED.subquery()
_unique_bytes = cast(func.sum(_target.c.size - func.coalesce(_shared.c.bytes, 0)), BigInteger)
_REPOSITORIES = (
    select(_repository, func.count(), _unique_bytes)
    .select_from(_target.outerjoin(_shared, _shared.c.target == _target.c.id))
    .group_by(_repository)
    .order_by(_unique_bytes.desc(), _repository)
    .limit(bindparam("most"))
)
_HOLDINGS = (
    select(_target.c.digest, _blob.c.digest, _blob.c.size)
    .select_from(_target.join(_reach, _reach.c.target == _target.c.id).join(_blob, _blob.c.digest == _reach.c.digest))
    .where(_target.c.digest.in_(DIGESTS))
)
_some = select(_reach.c.target).where(_reach.c.digest == _blob.c.digest).limit(bindparam("most")).correlate(_blob).subquery()
_FEW_USERS = select(_blob.c.digest, select(func.count()).select_from(_some).scalar_subquery()).where(_blob.c.digest.in_(DIGESTS))
_USERS = select(_blob.c.digest, select(func.count()).where(_reach.c.digest == _blob.c.digest).scalar_subquery()).where(
    _blob.c.digest.in_(DIGESTS)
)
_USERS_OF = (
    select(_target.c.id)
    .where(_target.c.id.in_(select(_reach.c.target).where(_reach.c.digest == bindparam("digest"))))
    .order_by(_target.c.first_name)
    .limit(bindparam("most"))
    .offset(bindparam("skipped"))
)
_BLOBS = select(_blob.c.digest, _blob.c.size).where(_blob.c.digest.in_(DIGESTS))
_LEASE_STATE = case((tables.lease.c.expires_at <= NOW, "expired"), (tables.lease.c.alive_until <= NOW, "kept"), else_="running")
_SOME_USERS = select(_reach.c.target).where(_reach.c.digest == bindparam("digest")).limit(bindparam("most"))
_relatives = select(_target.c.id, _target.c.digest, _target.c.shown, _target.c.first_name, _target.c.size).where(
    _target.c.shown.is_not(None)
)
_RELATIVES = _relatives.limit(bindparam("most"))
_WITH_LAYER = _relatives.where(
    _target.c.shown.in_(select(_edge.c.parent).where(_edge.c.child.in_(DIGESTS), _edge.c.role == Role.LAYER))
).limit(bindparam("most"))
_LAYERS_OF = (
    select(_target.c.id, _edge.c.child)
    .join(_edge, _edge.c.parent == _target.c.shown)
    .where(_target.c.id.in_(bindparam("ids", expanding=True)), _edge.c.role == Role.LAYER)
    .order_by(_target.c.id, _edge.c.position.desc())
)
_diff_ids = select(_layer.c.diff_id).where(_layer.c.digest.in_(DIGESTS))
_SAME_LAYERS = select(_layer.c.digest).where(_layer.c.diff_id.in_(_diff_ids))
_CHAINS = (
    select(_edge.c.parent, func.coalesce(_layer.c.diff_id, _edge.c.child), func.coalesce(_blob.c.size, literal(0)))
    .outerjoin(_layer, _layer.c.digest == _edge.c.child)
    .outerjoin(_blob, _blob.c.digest == _edge.c.child)
    .where(_edge.c.parent.in_(DIGESTS), _edge.c.role == Role.LAYER)
    .order_by(_edge.c.parent, _edge.c.position)
)


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of blobs, and their bytes."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class BlobAmounts:
    """The blobs of the store by how many images use them: none, one, or several."""

    unused: Amount
    unique: Amount
    shared: Amount


@dataclass(frozen=True, slots=True)
class RepositoryUse:
    """How many images have their first name in a repository, and the bytes that only one image has, of all of these. Images without a
    name are in the repository with the empty name.
    """

    repository: str
    images: int
    unique: int


@dataclass(frozen=True, slots=True)
class UsedBlob:
    """A blob, its bytes, and how many images use it."""

    digest: Digest
    size: int
    users: int


class Relative(NamedTuple):
    """A target as a family has it: the texts of its digest and of the digest of the manifest that describes it, its first name, and its
    bytes.
    """

    id: int
    digest: str
    shown: str
    first_name: str
    size: int

    @property
    def name(self) -> str:
        """This name as Docker shows it, empty if it has none."""
        return "" if self.first_name.startswith(DANGLING_PREFIX) else name_forms(self.first_name)[0]


@dataclass(frozen=True, slots=True)
class Chain:
    """The layers of an image as the hashes of what they give together: of the first, of the first two, and so on, and the stored bytes of
    as many. Images that begin with the same layers have equal hashes for them.
    """

    hashes: Sequence[int]
    sizes: Sequence[int]


class Usage:
    """Users of blobs. A blob is used by the targets that reach it."""

    def __init__(self, connection: Connection, upkeep: Upkeep) -> None:
        self._connection = connection
        self._upkeep = upkeep

    def amounts(self) -> BlobAmounts:
        unused, shared = self._amount_unused(), Amount(*self._connection.execute(_AMOUNT_SHARED).one())
        count, size = self._connection.execute(_TOTAL).one()
        return BlobAmounts(unused, Amount(count - unused.count - shared.count, size - unused.bytes - shared.bytes), shared)

    def bytes(self) -> int:
        """The bytes of all present blobs that a target reaches, each counted once."""
        _, total = self._connection.execute(_TOTAL).one()
        return int(total) - self._amount_unused().bytes

    def shared(self, ids: Collection[int]) -> dict[int, int]:
        """The bytes that another target also has, of each of these targets that has any."""
        self._upkeep.flush()
        return read_shared(self._connection, ids)

    def repositories(self, limit: int) -> list[RepositoryUse]:
        """Those with the most unique bytes, the largest first."""
        self._upkeep.flush()
        rows = self._connection.execute(_REPOSITORIES, {"most": limit})
        return [RepositoryUse(_repository_of(prefix), images, unique) for prefix, images, unique in rows]

    def shared_blobs(self, limit: int) -> list[UsedBlob]:
        """The largest blobs that several images use, the largest first."""
        self._upkeep.flush()
        rows = self._connection.execute(_LARGEST_SHARED, {"most": limit})
        return [UsedBlob(to_digest(digest), size, users) for digest, size, users in rows]

    def holdings(self, targets: Iterable[Digest]) -> dict[Digest, Mapping[Digest, int]]:
        """The present blobs that each of these targets reaches, itself included, with their bytes."""
        self._upkeep.flush()
        held: dict[Digest, dict[Digest, int]] = defaultdict(dict)
        for target, digest, size in self._rows(_HOLDINGS, targets):
            held[to_digest(target)][to_digest(digest)] = size
        return dict(held)

    def users(self, digests: Iterable[Digest], *, most: int | None = None) -> dict[Digest, int]:
        """How many targets use each of these blobs that is present; not counted beyond `most`, so that it costs the same for any."""
        self._upkeep.flush()
        rows = self._rows(_USERS, digests) if most is None else self._rows(_FEW_USERS, digests, most=most)
        return {to_digest(digest): users for digest, users in rows}

    def leased(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these a lease that has not expired keeps: those that it names, and what is below them."""
        among = {str(digest) for digest in digests}
        return {to_digest(digest) for digest in self._connection.scalars(reach.LEASED) if digest in among}

    def users_of(self, digest: Digest, *, limit: int, offset: int = 0) -> list[int]:
        """The ids of targets that use this blob, ordered by first name; there are as many as `users` says."""
        self._upkeep.flush()
        return list(self._connection.scalars(_USERS_OF, {"digest": str(digest), "most": limit, "skipped": offset}))

    def some_users(self, digest: Digest, limit: int) -> list[int]:
        """The ids of a few targets that use this blob, in no particular order, at a cost that does not depend on how many do."""
        self._upkeep.flush()
        return list(self._connection.scalars(_SOME_USERS, {"digest": str(digest), "most": limit}))

    def relatives(self, *, of: Iterable[int] | None = None, most: int | None = None) -> list[Relative]:
        """Every target that is described by a present manifest, or at most so many of them.

        With ids of targets, those that can be relatives of one of these: they have a layer that is the first one of it.
        """
        self._upkeep.flush()
        limit = {"most": _ALL if most is None else most}
        if of is None:
            return list(map(Relative._make, self._connection.execute(_RELATIVES, limit)))
        first = self._first_layers(of)
        same = {row[0] for row in self._rows(_SAME_LAYERS, first)}
        found: dict[int, Relative] = {}
        for chunk in in_chunks(first | same):
            for row in self._connection.execute(_WITH_LAYER, {"digests": chunk} | limit):
                found[row[0]] = Relative._make(row)
        return list(found.values())[:most]

    def _first_layers(self, targets: Iterable[int]) -> set[str]:
        first: dict[int, str] = {}
        waiting = iter(targets)
        while ids := list(islice(waiting, CHUNK)):
            first |= {row[0]: row[1] for row in self._connection.execute(_LAYERS_OF, {"ids": ids})}
        return set(first.values())

    def chains(self, manifests: Iterable[str]) -> dict[str, Chain]:
        """The layers of each of these manifests that has any."""
        layers: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for parent, diff_id, size in self._rows(_CHAINS, manifests):
            layers[parent].append((diff_id, size))
        return {manifest: _chain(found) for manifest, found in layers.items()}

    def _amount_unused(self) -> Amount:
        self._upkeep.flush()
        sizes = [size for _, size in self._rows(_BLOBS, self._connection.scalars(reach.UNUSED).all())]
        return Amount(len(sizes), sum(sizes))

    def _rows(self, query: Any, digests: Iterable[Digest | str], **values: int) -> Iterable[Any]:
        return (row for chunk in in_chunks(digests) for row in self._connection.execute(query, {"digests": chunk} | values))


def read_shared(connection: Connection, ids: Collection[int]) -> dict[int, int]:
    """See `Usage.shared`."""
    if len(ids) > _MANY:
        found: dict[int, int] = dict(map(tuple, connection.execute(_ALL_SHARED)))
        return {identifier: found[identifier] for identifier in ids if identifier in found}
    shared: dict[int, int] = {}
    waiting = iter(ids)
    while chunk := list(islice(waiting, CHUNK)):
        shared |= {target: size or 0 for target, size in connection.execute(_SHARED_OF, {"ids": chunk})}
    return shared


def count_rows(connection: Connection) -> RowCounts:
    """Count what metrics show; reads every row of the blobs."""
    images, swept_at = connection.execute(select(tables.store.c.images, tables.store.c.swept_at)).one()
    blobs, size = connection.execute(select(func.count(), func.coalesce(func.sum(_blob.c.size), 0)).select_from(_blob)).one()
    found: dict[str, int] = {
        row[0]: row[1] for row in connection.execute(select(_LEASE_STATE, func.count()).select_from(tables.lease).group_by(_LEASE_STATE))
    }
    return RowCounts(images, blobs, int(size), {state: found.get(state, 0) for state in ("running", "kept", "expired")}, swept_at)


def database_size(connection: Connection) -> int:
    """Bytes that the database has on its disk: all of its pages, and SQLite's log of what is not yet written into them."""
    if connection.dialect.name == "sqlite":
        path = connection.scalar(text("SELECT file FROM pragma_database_list WHERE name = 'main'"))
        pages = connection.scalar(text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"))
        with suppress(FileNotFoundError):
            return int(pages or 0) + Path(f"{path}-wal").stat().st_size
        return int(pages or 0)
    return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def _repository_of(prefix: str) -> str:
    """The repository of a name that ends after its last colon: `NAME:`, or `NAME@sha256:`."""
    return "" if prefix.startswith(DANGLING) else prefix.rstrip(":").partition("@")[0]


def _chain(layers: Iterable[tuple[str, int]]) -> Chain:
    hashes, sizes = [], []
    so_far, total = b"", 0
    for diff_id, size in layers:
        so_far = blake2b(so_far + diff_id.encode(), digest_size=8).digest()
        total += size
        hashes.append(int.from_bytes(so_far, "big", signed=True))
        sizes.append(total)
    return Chain(array("q", hashes), array("q", sizes))
