"""Keeps `target`, `target_label` and `blob.users` up to date with the other tables, in the transaction that changes those.

A blob's `users` is the number of targets that reach it; a target's `shared` is the bytes of its present blobs that another target also
reaches. The cost of a change depends on what the changed targets reached before and reach afterwards, and, for each blob that gets or loses
its second user, on the other user.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, bindparam, select, update

from stowage.services.metadata import tables
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.reached import Reached, read_below, read_targets_above
from stowage.services.metadata.rows import in_chunks
from stowage.services.metadata.targets import TargetRows, derive
from stowage.services.oci.digest import Digest

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
        self._touched: set[str] = set()
        self._users_before: Counter[str] = Counter()
        self._sizes: dict[str, int] = {}

    def touch(self, digests: Iterable[Digest]) -> None:
        """Note what these digests reach, if they are targets, before their names change."""
        new = {str(digest) for digest in digests} - self._touched
        self._note(self._targets(new))
        self._touched |= new

    def touch_targets(self, manifests: Iterable[Digest]) -> None:
        """Note what those of these manifests that are targets reach before that changes."""
        self._note(self._targets(map(str, manifests)) - self._touched)

    def flush(self) -> None:
        """Update the derived columns."""
        if not self._touched:
            return
        touched, before, sizes = self._touched, self._users_before, self._sizes
        self._touched, self._users_before, self._sizes = set(), Counter(), {}
        facts = list(derive(self._connection, touched))
        targets = [each.digest for each in facts]
        after = read_below(self._connection, targets)
        rows = TargetRows(self._connection)
        rows.store(facts)
        self._count(touched, before, after.count(), sizes | after.sizes)
        self._store_shared(targets, after)
        rows.remove(touched.difference(targets))

    def _note(self, targets: set[str]) -> None:
        held = read_below(self._connection, targets)
        self._touched |= targets
        self._users_before += held.count()
        self._sizes |= held.sizes

    def _count(self, touched: set[str], before: Counter[str], after: Counter[str], sizes: Mapping[str, int]) -> None:
        """Count the users of what the touched targets reached before, and reach now."""
        changes = {digest: change for digest in before.keys() | after.keys() if (change := after[digest] - before[digest])}
        users = self._users(changes)
        by_change: dict[int, list[str]] = defaultdict(list)
        for digest in users:
            by_change[changes[digest]].append(digest)
        for change, digests in by_change.items():
            for chunk in in_chunks(digests):
                self._connection.execute(_COUNT, {"digests": chunk, "more": change})
        self._share_with_one(
            {
                digest: sizes[digest] if count == 1 else -sizes[digest]
                for digest, count in users.items()
                if count - before[digest] == 1 and (count == 1) != (count + changes[digest] == 1)
            },
            touched,
        )

    def _share_with_one(self, changes: Mapping[str, int], touched: set[str]) -> None:
        """Add these bytes, of blobs that exactly one other target reaches, to the shared ones of that target."""
        more: Counter[str] = Counter()
        for digest, targets in read_targets_above(self._connection, changes).items():
            for target in targets - touched:
                more[target] += changes[digest]
        if more:
            self._connection.execute(_ADD_SHARED, [{"of": target, "more": change} for target, change in more.items()])

    def _store_shared(self, targets: Iterable[str], reached: Reached) -> None:
        users = self._users(reached.sizes)
        shared = reached.bytes_by_root(lambda digest: users[digest] > 1)
        if rows := [{"of": target, "bytes": shared[target]} for target in targets]:
            self._connection.execute(STORE_SHARED, rows)

    def _targets(self, digests: Iterable[str]) -> set[str]:
        return {digest for chunk in in_chunks(digests) for digest in self._connection.scalars(_TARGETS, {"digests": chunk})}

    def _users(self, digests: Iterable[str]) -> dict[str, int]:
        return {digest: users for chunk in in_chunks(digests) for digest, users in self._connection.execute(USERS, {"digests": chunk})}
