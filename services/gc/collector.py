"""The sweep: blobs that nothing keeps are removed, row first, then file.

Each digest is locked unless another process is locking it, and rechecked in the removing transaction: a writer that leased it keeps it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from stowage.services.archive.file_list import FileList
from stowage.services.content.protocol import ContentStore
from stowage.services.errors import EngineError, InvalidContent, InvalidDigest
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest
from stowage.services.progress import Advance, unobserved

ORPHAN_GRACE_SECONDS = 60 * 60
GRACE_SECONDS = 60
"""How long a lease that is late is left to its holder: time enough for a renewal that began while the database was away, and another."""
_BATCH = 64
_LEASES_AT_ONCE = 4
"""More leases than one transfer leaves behind, so their number shrinks, but few enough not to keep the caller waiting."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """The result of a sweep: removed blobs by digest with their sizes, and bytes of partials and of objects of no blob.

    `unseen` has a sentence for whatever could not be looked at.
    """

    blobs: dict[Digest, int]
    other_bytes: int = 0
    unseen: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(self.blobs.values()) + self.other_bytes


def sweep(metadata: MetadataStore, content: ContentStore, candidates: Iterable[Digest], advance: Advance = unobserved) -> Swept:
    """Remove those of the candidates and their descendants that nothing keeps; what a writer is publishing stays.

    `advance` is called with the number of blobs that were dealt with.
    """
    with metadata.read() as tx:
        reachable = tx.graph.descendants(candidates)
        unkept = reachable - tx.graph.rooted(reachable)
        rows = tx.graph.present(unkept)
    doomed = sorted(rows | content.places(unkept - rows).keys())
    blobs: dict[Digest, int] = {}
    for start in range(0, len(doomed), _BATCH):
        advance(start, len(doomed))
        blobs |= _sweep_batch(metadata, content, doomed[start : start + _BATCH])
    return Swept(blobs)


def collect_expired(metadata: MetadataStore, content: ContentStore) -> None:
    """Remove what only expired leases held, a few leases per call: the blobs and partials of broken transfers; and doomed objects.

    Writes nothing if there are none. It is never the caller's main task, so a failure is only logged.
    """
    try:
        with metadata.read() as tx:
            have_expired = tx.leases.have_expired()
        if have_expired:
            _end_expired(metadata, content)
        content.remove_doomed()
    except EngineError:
        _log.warning("could not remove what expired leases held; a prune will remove it", exc_info=True)


def _end_expired(metadata: MetadataStore, content: ContentStore) -> None:
    with metadata.write() as tx:
        held = tx.leases.end_expired(limit=_LEASES_AT_ONCE)
    if held:
        sweep(metadata, content, held)
        _discard_partials(metadata, content, map(str, held))
        metadata.note_sweep()


def end_abandoned(metadata: MetadataStore) -> None:
    """End the leases that expired or were abandoned, a few in a transaction: each may name thousands of blobs.

    Those that are late are ended by a later call, unless they are renewed.
    """
    more = True
    while more:
        with metadata.write() as tx:
            more = tx.leases.end_abandoned(limit=_LEASES_AT_ONCE, grace=GRACE_SECONDS)


def collect_unused(metadata: MetadataStore, content: ContentStore) -> Swept:
    """Remove what no image and no lease keeps, partials that no writer holds, and what processes that were killed left locked.

    Ends the leases as `end_abandoned` does. A partial of a digest that is still leased, and a file without a
    row in its first hour, are left for the writer that may continue with them. Looks neither at the files nor at the rows of blobs that
    are in use.
    """
    end_abandoned(metadata)
    with metadata.read() as tx:
        unused = tx.graph.unused()
    swept = sweep(metadata, content, unused)
    return _complete(metadata, content, swept, set(content.left_locked()))


def collect_garbage(metadata: MetadataStore, content: ContentStore, advance: Advance = unobserved) -> Swept:
    """The same, after deriving `reach` and the rows of lists again, and looking at every file.

    So it finds what a changed database, or a file whose lock was lost with the power, would hide from `collect_unused`. `advance` is
    called as by `sweep`.
    """
    metadata.recount()
    for digest in remove_unreadable_lists(metadata):
        _log.warning("the list of files of layer %s was unreadable and is removed", digest)
    end_abandoned(metadata)
    with metadata.read() as tx:
        unrooted = tx.graph.unrooted()
    swept = sweep(metadata, content, unrooted, advance)
    collected = _complete(metadata, content, swept, {digest for digest, _ in content.blobs()})
    unnamed = list(content.unnamed(ORPHAN_GRACE_SECONDS))
    unseen = tuple(each.sentence for each in unnamed if not each.location)
    return replace(collected, other_bytes=collected.other_bytes + content.remove_unnamed(unnamed), unseen=unseen)


def _complete(metadata: MetadataStore, content: ContentStore, swept: Swept, files: set[Digest]) -> Swept:
    """Remove those of these files that are orphans, and partials; returns what was removed in all."""
    orphans = _remove_orphans(metadata, content, files)
    other = _discard_unheld(metadata, content) + content.remove_doomed()
    metadata.note_sweep()
    return Swept(swept.blobs | orphans, other)


def _sweep_batch(metadata: MetadataStore, content: ContentStore, batch: Sequence[Digest]) -> dict[Digest, int]:
    with ExitStack() as locks:
        locked = [digest for digest in batch if locks.enter_context(content.locked(digest))]
        with metadata.write() as tx:
            removable = set(locked) - tx.graph.rooted(locked)
            tx.graph.remove(removable)
        return content.delete(removable)


def _remove_orphans(metadata: MetadataStore, content: ContentStore, files: set[Digest]) -> dict[Digest, int]:
    """Remove those of these files that are old and have no row.

    Only a lease keeps one; an index that lists it does not, since it counts as absent without a row.
    """
    removed: dict[Digest, int] = {}
    for digest in sorted(_old_orphans(metadata, content, files)):
        with content.locked(digest) as alone, metadata.read() as tx:
            if alone and not tx.graph.present([digest]) and not tx.leases.held([digest]):
                removed |= content.delete([digest])
    return removed


def _old_orphans(metadata: MetadataStore, content: ContentStore, files: set[Digest]) -> set[Digest]:
    """Those without a row that are too old to be a running writer's."""
    with metadata.read() as tx:
        orphans = files - tx.graph.present(files)
    before = time.time() - ORPHAN_GRACE_SECONDS
    return {digest for digest in orphans if (content.modified(digest) or before) < before}


def _discard_unheld(metadata: MetadataStore, content: ContentStore) -> int:
    return _discard_partials(metadata, content, [key for key, _, held in content.partials() if not held])


def _discard_partials(metadata: MetadataStore, content: ContentStore, keys: Iterable[str]) -> int:
    """Remove these partials, except those of a kept digest still to be stored or of a running writer; returns their bytes."""
    keys = set(keys)
    digests = {key: digest for key in keys if (digest := _digest_of(key)) is not None}
    with metadata.read() as tx:
        wanted = tx.graph.rooted(digests.values()) - tx.graph.unmarked(digests.values()).keys()
    return sum(_discard_partial(content, key) for key in keys if digests.get(key) not in wanted)


def _discard_partial(content: ContentStore, key: str) -> int:
    """Remove a partial. One that cannot be removed, such as another user's folder, must not stop the removal of the others."""
    try:
        return content.discard_partial(key)
    except EngineError:
        _log.warning("could not remove partial %s", key, exc_info=True)
        return 0


def _digest_of(key: str) -> Digest | None:
    try:
        return Digest.parse(key)
    except InvalidDigest:
        return None


def remove_unreadable_lists(metadata: MetadataStore) -> Iterator[Digest]:
    """Read the lists of what is in layers, each in a transaction of its own, and remove those that cannot be read; yields their layers.

    Such a list is damage of the database, or of another version of the format. It is derived from its layer, so nothing is lost.
    """
    after: Digest | None = None
    while True:
        with metadata.read() as tx:
            page = tx.layer_files.digests(after)
        for after in page:
            if not _is_readable(metadata, after):
                with metadata.write() as tx:
                    tx.layer_files.remove([after])
                yield after
        if not page:
            return


def _is_readable(metadata: MetadataStore, digest: Digest) -> bool:
    """Whether the list of a layer is whole; also if it has just been removed with its layer, or replaced."""
    with metadata.read() as tx:
        kept = tx.layer_files.get([digest]).get(digest)
        if kept is None:
            return not tx.layer_files.has(digest)
    try:
        FileList.parse(kept)
    except InvalidContent:
        return False
    return True
