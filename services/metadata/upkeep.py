"""Keeps `target`, `target_label`, `manifest.content_size` and `blob.users` up to date with the other tables.

A blob's `users` is the number of targets that reach it; a target's `shared` is the bytes of its present blobs that another target also
reaches. These and the sizes change in the transaction of what changes them: effects.py finds what a change of blobs and links does to them.
The cost of a new or lost target depends on what it reaches, and, for each blob that gets or loses its second user, on the other user.

What else lists need of the targets above a change is derived from all that they list, which may be much. So these targets are marked as
`outdated`. If they are few, the same transaction derives them at its end; otherwise the store does so in further transactions, each of
which derives a bounded part. Until then they are listed as before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from sqlalchemy import Connection, Update, bindparam, select, update

from stowage.services.metadata import tables
from stowage.services.metadata.effects import Change, Effects, find_effects
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.reached import Reached, read_reached, read_targets_above
from stowage.services.metadata.records import ManifestFacts
from stowage.services.metadata.rows import CHUNK, in_chunks
from stowage.services.metadata.targets import Room, TargetRows, derive
from stowage.services.oci.digest import Digest

MAX_LINKS = 20_000
"""How many links are followed and labels read, roughly, to derive again what lists show of outdated targets in one transaction."""

_target, _blob, _manifest = tables.target, tables.blob, tables.manifest
USERS = select(_blob.c.digest, _blob.c.users).where(_blob.c.digest.in_(DIGESTS))
"""(digest, users) of those of DIGESTS that are present."""
_COUNT = update(_blob).where(_blob.c.digest.in_(DIGESTS)).values(users=_blob.c.users + bindparam("more"))
_ADD_SHARED = update(_target).where(_target.c.digest == bindparam("of")).values(shared=_target.c.shared + bindparam("more"))
_ADD_SIZE = update(_target).where(_target.c.digest == bindparam("of")).values(size=_target.c.size + bindparam("more"))
_ADD_CONTENT = (
    update(_manifest).where(_manifest.c.digest == bindparam("of")).values(content_size=_manifest.c.content_size + bindparam("more"))
)
_OUTDATE = update(_target).where(_target.c.digest.in_(DIGESTS)).values(outdated=True)
_OUTDATED = select(_target.c.digest).where(_target.c.outdated).order_by(_target.c.digest).limit(CHUNK)


class Upkeep:
    """The upkeep of one write transaction.

    Call `touch` before names change, make other changes in the context of `changing`, and call `flush` before derived columns are read and
    at the end. `is_behind` says whether there may be outdated targets, and `outdates` whether there are some by this transaction.
    """

    def __init__(self, connection: Connection, *, is_behind: bool = False) -> None:
        self._connection = connection
        self._touched: set[str] = set()
        self._room = Room(MAX_LINKS)
        self.is_behind = is_behind
        self.outdates = False
        self.listed: Mapping[Digest, ManifestFacts] = {}
        """What `Graph.listed` has found, unless manifests have changed since."""

    def touch(self, digests: Iterable[Digest]) -> None:
        """Note that names of these digests change."""
        self._touched |= {str(digest) for digest in digests}

    @contextmanager
    def changing(
        self,
        *,
        sizes: Mapping[Digest, int | None] | None = None,
        links: Mapping[Digest, Collection[Digest]] | None = None,
        unmade: AbstractSet[Digest] = frozenset(),
    ) -> Iterator[Effects]:
        """Make a change inside: see `Change`. What it adds to the content of a manifest that it inserts may be taken and inserted."""
        self._flush_names()
        self.listed = {}
        change = Change(
            {str(digest): size for digest, size in (sizes or {}).items()},
            {str(parent): set(map(str, children)) for parent, children in (links or {}).items()},
            set(map(str, unmade)),
        )
        effects = find_effects(self._connection, change)
        yield effects
        self._add(_ADD_CONTENT, effects.content)
        self._add(_ADD_SIZE, {target: effects.content[target] for target in effects.targets})
        self._add(_ADD_SHARED, effects.shared)
        self._add_users(effects.users)
        self._share_with_one(effects.others, effects.targets)
        if effects.relists and effects.targets:
            self._execute(_OUTDATE, effects.targets)
            self.is_behind = self.outdates = True
            self._room.links -= effects.links

    def flush(self) -> None:
        """Update the derived columns, but for what takes too long of outdated targets."""
        self._flush_names()
        if self.is_behind and self._room.links > 0:
            self._derive_outdated()

    def _flush_names(self) -> None:
        """Add or remove the rows of the digests whose names changed."""
        if not self._touched:
            return
        touched, self._touched = self._touched, set()
        targets = TargetRows(self._connection)
        rows = targets.read(touched)
        facts = list(derive(self._connection, touched, self.listed))
        before, after = set(rows), {each.digest for each in facts}
        lost, found = read_reached(self._connection, before - after), read_reached(self._connection, after - before)
        users = self._count(before ^ after, lost, found)
        targets.store(facts, rows, found.bytes_by_root(lambda digest: users[digest] > 1))
        targets.remove(before - after)

    def _derive_outdated(self) -> None:
        outdated = list(self._connection.scalars(_OUTDATED))
        facts = list(derive(self._connection, outdated, room=self._room))
        targets = TargetRows(self._connection)
        targets.store(facts, targets.read(each.digest for each in facts))
        self.is_behind = bool(facts) and (len(facts) < len(outdated) or len(outdated) == CHUNK)

    def _count(self, touched: set[str], lost: Reached, found: Reached) -> dict[str, int]:
        """Count the users of what lost and new targets reach; returns how many each has then."""
        before, after = lost.count(), found.count()
        users, sizes = lost.users | found.users, lost.sizes | found.sizes
        changes = {digest: change for digest in users if (change := after[digest] - before[digest])}
        self._add_users(changes)
        others = {
            digest: sizes[digest] if users[digest] == 1 else -sizes[digest]
            for digest, change in changes.items()
            if users[digest] - before[digest] == 1 and (users[digest] == 1) != (users[digest] + change == 1)
        }
        self._share_with_one(others, touched)
        return {digest: count + changes.get(digest, 0) for digest, count in users.items()}

    def _add_users(self, changes: Mapping[str, int]) -> None:
        by_change: dict[int, list[str]] = defaultdict(list)
        for digest, change in changes.items():
            by_change[change].append(digest)
        for change, digests in by_change.items():
            self._execute(_COUNT, digests, more=change)

    def _share_with_one(self, changes: Mapping[str, int], touched: set[str]) -> None:
        """Add these bytes, of blobs that exactly one other target reaches, to the shared ones of that target."""
        more: Counter[str] = Counter()
        for digest, targets in read_targets_above(self._connection, changes).items():
            for target in targets - touched:
                more[target] += changes[digest]
        self._add(_ADD_SHARED, more)

    def _add(self, statement: Update, more: Mapping[str, int]) -> None:
        if rows := [{"of": digest, "more": each} for digest, each in more.items() if each]:
            self._connection.execute(statement, rows)

    def _execute(self, statement: Update, digests: Iterable[str], **values: int) -> None:
        for chunk in in_chunks(digests):
            self._connection.execute(statement, {"digests": chunk, **values})
