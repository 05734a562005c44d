"""Keeps `target`, `target_label` and `blob.users` up to date with the other tables, in the transaction that changes those.

A blob's `users` is the number of targets that reach it; a target's `shared` is the bytes of its present blobs that another target also
reaches. The cost of a change depends on what the changed targets reached before and reach afterwards, and, for each blob that gets or loses
its second user, on the other user.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain

from sqlalchemy import Connection, bindparam, select, update

from stowage.services.metadata import reach, tables
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.rows import in_chunks
from stowage.services.metadata.targets import TargetRows, derive
from stowage.services.oci.digest import Digest

Holdings = dict[str, dict[str, int]]
"""Per target its present blobs with their sizes."""

_TARGETS = select(tables.target.c.digest).where(tables.target.c.digest.in_(DIGESTS))
USERS = select(tables.blob.c.digest, tables.blob.c.users).where(tables.blob.c.digest.in_(DIGESTS))
"""(digest, users) of those of DIGESTS that are present."""
_COUNT = update(tables.blob).where(tables.blob.c.digest.in_(DIGESTS)).values(users=tables.blob.c.users + bindparam("more"))
STORE_SHARED = update(tables.target).where(tables.target.c.digest == bindparam("of")).values(shared=bindparam("bytes"))
"""Store `bytes` as the shared ones of the target `of`."""
_ADD_SHARED = (
    update(tables.target).where(tables.target.c.digest == bindparam("of")).values(shared=tables.target.c.shared + bindparam("more"))
)


class Upkeep:
    """The upkeep of one write transaction: call `touch` before each change, and `flush` before derived columns are read and at the end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._before: Holdings = {}

    def touch(self, digests: Iterable[Digest]) -> None:
        """Note what these digests reach, if they are targets, before their names change."""
        new = {str(digest) for digest in digests} - self._before.keys()
        self._before |= {target: {} for target in new} | read_holdings(self._connection, self._targets(new))

    def touch_targets(self, manifests: Iterable[Digest]) -> None:
        """Note what those of these manifests that are targets reach before that changes."""
        self._before |= read_holdings(self._connection, self._targets(map(str, manifests)) - self._before.keys())

    def flush(self) -> None:
        """Update the derived columns."""
        if not self._before:
            return
        before, self._before = self._before, {}
        facts = list(derive(self._connection, before))
        after: Holdings = {target: {} for target in before} | read_holdings(self._connection, [each.digest for each in facts])
        rows = TargetRows(self._connection)
        rows.store(facts)
        self._count(before, after)
        rows.remove(before.keys() - {each.digest for each in facts})

    def _count(self, before: Holdings, after: Holdings) -> None:
        old, new = _users(before), _users(after)
        changes = {digest: change for digest in old.keys() | new.keys() if (change := new[digest] - old[digest])}
        users = self._users(changes)
        by_change: dict[int, list[str]] = defaultdict(list)
        for digest in users:
            by_change[changes[digest]].append(digest)
        for change, digests in by_change.items():
            for chunk in in_chunks(digests):
                self._connection.execute(_COUNT, {"digests": chunk, "more": change})
        sizes = {digest: size for holding in chain(before.values(), after.values()) for digest, size in holding.items()}
        self._share_with_one(
            {
                digest: sizes[digest] if count == 1 else -sizes[digest]
                for digest, count in users.items()
                if count - old[digest] == 1 and (count == 1) != (count + changes[digest] == 1)
            },
            before,
        )
        self._store_shared(after)

    def _share_with_one(self, changes: Mapping[str, int], touched: Holdings) -> None:
        """Add these bytes, of blobs that exactly one other target reaches, to the shared ones of that target."""
        more: Counter[str] = Counter()
        for chunk in in_chunks(changes):
            for digest, target in self._connection.execute(reach.TARGETS_ABOVE, {"digests": chunk}):
                if target is not None and target not in touched:
                    more[target] += changes[digest]
        if more:
            self._connection.execute(_ADD_SHARED, [{"of": target, "more": change} for target, change in more.items()])

    def _store_shared(self, after: Holdings) -> None:
        users = self._users(chain.from_iterable(after.values()))
        rows = [
            {"of": target, "bytes": sum(size for digest, size in holding.items() if users[digest] > 1)} for target, holding in after.items()
        ]
        self._connection.execute(STORE_SHARED, rows)

    def _targets(self, digests: Iterable[str]) -> set[str]:
        return {digest for chunk in in_chunks(digests) for digest in self._connection.scalars(_TARGETS, {"digests": chunk})}

    def _users(self, digests: Iterable[str]) -> dict[str, int]:
        return {digest: users for chunk in in_chunks(digests) for digest, users in self._connection.execute(USERS, {"digests": chunk})}


def read_holdings(connection: Connection, targets: Iterable[str]) -> Holdings:
    """The present blobs that these targets reach, themselves included."""
    holdings: Holdings = defaultdict(dict)
    for chunk in in_chunks(targets):
        for target, digest, size in connection.execute(reach.HOLDINGS, {"digests": chunk}):
            if size is not None:
                holdings[target][digest] = size
    return holdings


def _users(holdings: Holdings) -> Counter[str]:
    return Counter(chain.from_iterable(holdings.values()))
