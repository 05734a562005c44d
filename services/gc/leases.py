"""Leases as context managers: code that writes or streams content holds one first.

A lease is renewed while its process runs and the context is open, however slowly bytes arrive. Prune can thus distinguish a running
transfer from an abandoned one on any node. Nobody can renew one while the database is away, so a prune that finds one late gives its holder
another period (`stowage.services.gc.collector.GRACE_SECONDS`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from threading import Event, Thread
from typing import NamedTuple

from stowage.services.content.protocol import ContentStore
from stowage.services.errors import EngineError, InvalidParameter, NotFound
from stowage.services.gc.collector import collect_expired, sweep
from stowage.services.gc.damage import sound_blobs
from stowage.services.metadata.store import MetadataStore, Transaction
from stowage.services.oci.digest import Digest

RENEWAL_SECONDS = 20
RETRY_SECONDS = 5
"""The delay after a renewal that failed: the database may be back at any moment."""
ALIVE_SECONDS = 5 * 60
"""How long the database may be away without consequences for what is running."""
EXPIRES_SECONDS = 24 * 60 * 60

_log = logging.getLogger(__name__)


class Ended(NamedTuple):
    """The result of the end of a lease: the digests that it held and no image has, and whether others may have left garbage too."""

    unused: set[Digest]
    others_left: bool


class Lease:
    """A held lease; usable from several threads."""

    def __init__(
        self, metadata: MetadataStore, content: ContentStore, note: str, digests: Collection[Digest] = (), *, prepares: bool = False
    ) -> None:
        self._metadata = metadata
        self._content = content
        self._held = set(digests)
        with metadata.write() as tx:
            self._unmarked = tx.graph.unmarked(digests)
            self._locations = content.new_locations(self._held - self._unmarked.keys()) if prepares else {}
            self._id = tx.leases.create(note, alive=ALIVE_SECONDS, expires=EXPIRES_SECONDS)
            tx.leases.fill(self._id, digests, self._locations.values())
        self._is_ending = False
        self.ended: Ended | None = None
        """What its end has left, once it has ended."""

    @property
    def id(self) -> str:
        return self._id

    def sound(self) -> set[Digest]:
        """Those of the first digests that are present and sound, as `add` returns them."""
        return sound_blobs(self._content, self._unmarked)

    def take_location(self, digest: Digest) -> str:
        """The location that was prepared for this blob's object, once; empty if there is none."""
        return self._locations.pop(digest, "")

    def add(self, digests: Iterable[Digest]) -> set[Digest]:
        """Hold these; returns those that are present and sound, which stay until the lease ends. Writes nothing if it holds them already.

        Raises Internal if the lease has ended.
        """
        wanted = set(digests)
        if wanted <= self._held:
            with self._metadata.read() as tx:
                tx.leases.require(self._id)
                unmarked = tx.graph.unmarked(wanted)
        else:
            with self._metadata.write() as tx:
                tx.leases.add(self._id, wanted)
                unmarked = tx.graph.unmarked(wanted)
            self._held |= wanted
        return sound_blobs(self._content, unmarked)

    def digests(self) -> set[Digest]:
        """The digests that it holds."""
        return set(self._held)

    def renew(self) -> None:
        """Record that the holder is still running, unless it is about to end the lease; raises Internal if the lease has ended."""
        with self._metadata.write() as tx:
            if not self._is_ending:
                tx.leases.renew(self._id, alive=ALIVE_SECONDS, expires=EXPIRES_SECONDS)

    def abandon(self) -> None:
        """Leave the lease, so a retry within a day finds its blobs; a prune may end it at once."""
        with self._metadata.write() as tx:
            tx.leases.renew(self._id, alive=0, expires=EXPIRES_SECONDS)

    @contextmanager
    def ending(self, kept: AbstractSet[Digest] = frozenset()) -> Iterator[Transaction]:
        """A write transaction at whose end the lease ends, such as the one that makes an image of what it holds.

        What is `kept` by an image after this transaction need not be looked up.
        """
        self._is_ending = True
        with self._metadata.write() as tx:
            yield tx
            ended = self._end(tx, kept)
        self.ended = ended

    def end(self) -> Ended:
        """End the lease, if it has not ended yet."""
        if self.ended is None:
            self._is_ending = True
            with self._metadata.write() as tx:
                ended = self._end(tx, frozenset())
            self.ended = ended
        return self.ended

    def _end(self, tx: Transaction, kept: AbstractSet[Digest]) -> Ended:
        held, others_left = tx.leases.end(self._id)
        unused = held - kept
        return Ended(unused - tx.graph.used(unused), others_left)


@contextmanager
def hold(
    metadata: MetadataStore,
    content: ContentStore,
    note: str,
    *,
    digests: Collection[Digest] = (),
    prepares: bool = False,
    keep_on_failure: bool = False,
) -> Iterator[Lease]:
    """Hold a lease, at first of these digests, while the context is open; at its end everything that only the lease kept is swept.

    With `prepares` the absent ones get a place to be written to, which in a bucket takes a transaction otherwise.
    With `keep_on_failure` an exception (a cancelled or broken pull) leaves finished blobs under the lease for the next try. They stay until
    the lease expires a day later, or a prune or the removal of a platform finds it abandoned. InvalidContent and NotFound leave nothing:
    another try would get the same. The blobs of expired leases are removed at the end of later holds.
    """
    lease = Lease(metadata, content, note, digests, prepares=prepares)
    try:
        with _renewed(lease):
            yield lease
    except (InvalidParameter, NotFound):
        _let_go(lease, metadata, content, keep=False)
        raise
    except BaseException:
        _let_go(lease, metadata, content, keep=keep_on_failure)
        raise
    _let_go(lease, metadata, content, keep=False)


@contextmanager
def _renewed(lease: Lease) -> Iterator[None]:
    """Renew the lease from a thread of its own until the context ends."""
    ended = Event()
    renewing = Thread(target=_renew_until, args=(lease, ended), name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()


def _renew_until(lease: Lease, ended: Event) -> None:
    delay = RENEWAL_SECONDS
    while not ended.wait(delay):
        delay = RENEWAL_SECONDS
        try:
            lease.renew()
        except EngineError:
            delay = RETRY_SECONDS
            _log.warning("could not renew a lease; its holder will notice when it next writes", exc_info=True)


def _let_go(lease: Lease, metadata: MetadataStore, content: ContentStore, *, keep: bool) -> None:
    """End or abandon the lease. A failure leaves only garbage, so it never hides how the operation itself ended."""
    try:
        if keep and lease.ended is None:
            lease.abandon()
            return
        ended = lease.end()
        if ended.unused:
            sweep(metadata, content, ended.unused)
        if ended.others_left:
            collect_expired(metadata, content)
    except EngineError:
        _log.warning("could not end a lease; what it held stays until it expires", exc_info=True)
