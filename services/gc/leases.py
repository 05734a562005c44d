"""Leases as context managers: code that writes or streams content holds one first.

A lease is renewed while its process runs and the context is open, however slowly bytes arrive. Prune can thus distinguish a running
transfer from an abandoned one on any node. Nobody can renew one while the database is away, so a prune that finds one late gives its holder
another period (`stowage.services.gc.collector.GRACE_SECONDS`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from stowage.services.content.protocol import ContentStore
from stowage.services.errors import EngineError, InvalidParameter, NotFound
from stowage.services.gc.collector import collect_expired, sweep
from stowage.services.gc.damage import sound_blobs
from stowage.services.metadata.protocol import MetadataStore, Transaction
from stowage.services.oci.digest import Digest

RENEWAL_SECONDS = 20
RETRY_SECONDS = 5
"""The delay after a renewal that failed: the database may be back at any moment."""
ALIVE_SECONDS = 5 * 60
"""How long the database may be away without consequences for what is running."""
EXPIRES_SECONDS = 24 * 60 * 60

_log = logging.getLogger(__name__)


class Lease:
    """A held lease; usable from several threads."""

    def __init__(self, metadata: MetadataStore, content: ContentStore, note: str, digests: Collection[Digest] = ()) -> None:
        self._metadata = metadata
        self._content = content
        with metadata.write() as tx:
            self._id = tx.leases.create(note, alive=ALIVE_SECONDS, expires=EXPIRES_SECONDS)
            self._unmarked = self._add(tx, digests)
        self._held = set(digests)

    @property
    def id(self) -> str:
        return self._id

    def sound(self) -> set[Digest]:
        """Those of the first digests that are present and sound, as `add` returns them."""
        return sound_blobs(self._content, self._unmarked)

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
                unmarked = self._add(tx, wanted)
            self._held |= wanted
        return sound_blobs(self._content, unmarked)

    def _add(self, tx: Transaction, digests: Collection[Digest]) -> dict[Digest, int]:
        tx.leases.add(self._id, digests)
        return tx.graph.unmarked(digests)

    def digests(self) -> set[Digest]:
        """The digests that it holds."""
        with self._metadata.read() as tx:
            return tx.leases.digests(self._id)

    def renew(self) -> None:
        """Record that the holder is still running; raises Internal if the lease has ended."""
        with self._metadata.write() as tx:
            tx.leases.renew(self._id, alive=ALIVE_SECONDS, expires=EXPIRES_SECONDS)

    def abandon(self) -> None:
        """Leave the lease, so a retry within a day finds its blobs; a prune may end it at once."""
        with self._metadata.write() as tx:
            tx.leases.renew(self._id, alive=0, expires=EXPIRES_SECONDS)

    def end(self) -> set[Digest]:
        """End the lease; returns what it held."""
        with self._metadata.write() as tx:
            held = tx.leases.digests(self._id)
            tx.leases.end(self._id)
        return held


@contextmanager
def hold(
    metadata: MetadataStore, content: ContentStore, note: str, *, digests: Collection[Digest] = (), keep_on_failure: bool = False
) -> Iterator[Lease]:
    """Hold a lease, at first of these digests, while the context is open; at its end everything that only the lease kept is swept.

    With `keep_on_failure` an exception (a cancelled or broken pull) leaves finished blobs under the lease for the next try. They stay until
    the lease expires a day later, or a prune or the removal of a platform finds it abandoned. InvalidContent and NotFound leave nothing:
    another try would get the same. The blobs of expired leases are removed at the end of later holds.
    """
    lease = Lease(metadata, content, note, digests)
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
        if keep:
            lease.abandon()
        else:
            sweep(metadata, content, lease.end())
            collect_expired(metadata, content)
    except EngineError:
        _log.warning("could not end a lease; what it held stays until it expires", exc_info=True)
