"""The content store in a bucket. What is being written is in a folder of this node, in the same layout as that of a folder.

<prefix>/store-id            whose blobs these are: the id of the store, and its database; two lines of text
<prefix>/blobs/<unique>      the bytes of a blob, or of one that never got a row
<root>/ingest, <root>/locks  partials and their locks, as in stowage.services.content.paths
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast
from uuid import uuid4

from stowage.services.content.bucket import MARK, Bucket, create_mark, read_mark, write_mark
from stowage.services.content.bucket_errors import Denied
from stowage.services.content.bucket_uploads import abort_upload, list_uploads
from stowage.services.content.files import remove_partial
from stowage.services.content.ingests import LocalPartials, check_content
from stowage.services.content.locks import clear_unheld, try_lock, wait_lock
from stowage.services.content.object_ingest import BLOBS, ObjectIngest, new_location, require_fitting, spooled_bytes
from stowage.services.content.object_reader import ObjectReader
from stowage.services.content.paths import DIGEST_LOCK, Layout
from stowage.services.content.protocol import NOWHERE, ObjectRecords, Place, Unnamed, Version
from stowage.services.content.upload import upload_memory
from stowage.services.errors import BlobNotFound, Internal
from stowage.services.files import storage_errors
from stowage.services.meter import UNMETERED, StoreMeter, timed
from stowage.services.oci.digest import Digest

_AT_ONCE = 8
"""How many small objects are written at once, and how many are asked for at once."""

_BATCH = 500


class S3Store(LocalPartials):
    """Blobs as objects (services/content/protocol.py: ContentStore). Any number of processes may share a root, and of nodes a bucket.

    `owner` names the database. Objects are kept for `keep_seconds` after nothing needs them. The uploads of the process keep `upload_bytes`
    in memory, and the partials of the node `spool_bytes` on disk.
    """

    def __init__(
        self,
        root: Path,
        bucket: Bucket,
        records: ObjectRecords,
        *,
        owner: str,
        keep_seconds: int,
        upload_bytes: int,
        spool_bytes: int,
        meter: StoreMeter = UNMETERED,
    ) -> None:
        super().__init__(Layout(root), meter)
        self._bucket, self._records = bucket, records
        self._owner, self._keep_seconds, self._spool_bytes = owner, keep_seconds, spool_bytes
        self._memory = upload_memory(upload_bytes)
        with storage_errors():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self._layout.ingests, self._layout.locks):
                folder.mkdir(mode=0o700, exist_ok=True)
            clear_unheld(self._layout.locks, but=DIGEST_LOCK)

    def mark(self) -> tuple[str, str] | None:
        """The id of the store that the bucket belongs to, and its database; None if it has no mark yet."""
        return read_mark(self._bucket)

    def adopt(self, store_id: str) -> None:
        """Make the bucket belong to this store and its database, whoever it belonged to."""
        write_mark(self._bucket, store_id, self._owner)

    def store_id(self) -> str | None:
        mark = self.mark()
        return None if mark is None else mark[0]

    def claim(self, store_id: str) -> str:
        create_mark(self._bucket, store_id, self._owner)
        return self.store_id() or ""

    def check(self) -> None:
        if self.mark() is None:
            raise Internal(f"the bucket {self._bucket.address.bucket} has lost the object {MARK} below {self._bucket.address}")
        location = f"check/{uuid4().hex}"
        self._bucket.put(location, b"may be removed")
        self._bucket.delete([location])

    def listing_problem(self) -> str:
        """Why the bucket does not list its objects, which only `unnamed` needs; empty if it does."""
        try:
            next(self._bucket.list(MARK), None)
        except Denied as exc:
            return str(exc)
        return ""

    def free(self) -> int:
        with storage_errors():
            found = os.statvfs(self._layout.ingests)
        return max(0, min(found.f_bavail * found.f_frsize, self._spool_bytes - spooled_bytes(self._layout)))

    def require_room(self, size: int) -> None:
        require_fitting(size, self._spool_bytes)

    def open(self, digest: Digest) -> BinaryIO:
        with timed(self._meter.content_call, "open"):
            return self.open_at(digest, self._location(digest))

    def open_at(self, digest: Digest, location: str) -> BinaryIO:
        """The blob that has this location, unless it is empty, or has another one meanwhile."""
        found = self._bucket.head(location) if location else None
        if found is None:
            raise BlobNotFound(f"content {digest}: not found")
        return cast(BinaryIO, ObjectReader(self._bucket, location, found.size, lambda: self._location(digest)))

    def read(self, digest: Digest) -> bytes:
        with self.open(digest) as blob:
            return blob.read()

    def size(self, digest: Digest) -> int | None:
        location = self._location(digest)
        found = self._bucket.head(location) if location else None
        return found.size if found else None

    def places(self, digests: Collection[Digest]) -> dict[Digest, Place]:
        locations = {digest: location for digest, location in self._records.locations(digests).items() if location}
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="places") as threads:
            found = zip(locations.items(), threads.map(self._bucket.head, locations.values()), strict=True)
            return {digest: _Object(self, digest, location, each.size) for (digest, location), each in found if each}

    def version(self, digest: Digest) -> Version | None:
        location = self._location(digest)
        found = self._bucket.head(location) if location else None
        return ((location, found.etag) if found else (location,)) if location else None

    def new_locations(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        return {digest: new_location() for digest in digests}

    @contextmanager
    def ingest(
        self, key: str, *, lease: str = "", location: str = "", waiting: Callable[[], None] = lambda: None
    ) -> Iterator[ObjectIngest]:
        with wait_lock(self._layout.lock(key), waiting):
            ingest = ObjectIngest(
                self._layout,
                key,
                waiting,
                self._meter.content_call,
                bucket=self._bucket,
                records=self._records,
                lease=lease,
                location=location,
                memory=self._memory,
                spool_bytes=self._spool_bytes,
            )
            try:
                yield ingest
            finally:
                ingest.close()

    @contextmanager
    def publish(
        self, blobs: Mapping[Digest, bytes], *, lease: str = "", locations: Mapping[Digest, str] = NOWHERE
    ) -> Iterator[Mapping[Digest, str]]:
        with ExitStack() as held:
            with timed(self._meter.content_call, "publish"):
                published = self._publish(held, blobs, lease, locations)
            yield published

    def _publish(self, held: ExitStack, blobs: Mapping[Digest, bytes], lease: str, locations: Mapping[Digest, str]) -> Mapping[Digest, str]:
        for digest, content in blobs.items():
            check_content(digest, content)
        free = [digest for digest in blobs if self._is_free(held, digest)]
        unintended = self.new_locations(set(free) - locations.keys())
        if unintended:
            self._records.intend(lease, list(unintended.values()))
        published = unintended | {digest: locations[digest] for digest in free if digest in locations}
        if free:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="publish") as threads:
                list(threads.map(lambda digest: self._bucket.put(published[digest], blobs[digest]), free))
        return published

    def left_locked(self) -> Iterator[Digest]:
        return iter(())

    def delete(self, digests: Collection[Digest]) -> dict[Digest, int]:
        with timed(self._meter.content_call, "delete"):
            found = self._records.doomed_of(digests)
            sizes = {digest: 0 for _, digest, _, _ in found}
            due = [each for each in found if each[3] >= self._keep_seconds]
            self._remove([location for location, _, _, _ in due])
        for _, digest, size, _ in due:
            sizes[digest] += size
        for size in sizes.values():
            self._meter.removed(size)
        return sizes

    def remove_doomed(self) -> int:
        removed = 0
        while due := self._records.doomed(age=self._keep_seconds, limit=_BATCH):
            self._remove([location for location, _ in due])
            removed += sum(size for _, size in due)
        return removed

    def unnamed(self, grace: int) -> Iterator[Unnamed]:
        before = time.time() - grace
        try:
            for page in self._bucket.list(BLOBS):
                old = {each.location: each.size for each in page if each.modified <= before}
                for location in sorted(old.keys() - self._records.named(old.keys())):
                    yield Unnamed(location, old[location], sentence=f"object {location}: {old[location]} bytes that no row names")
        except Denied as exc:
            yield Unnamed("", sentence=f"objects without a row were not looked for: {exc}")
        try:
            for upload in list_uploads(self._bucket):
                if upload.began <= before and not self._records.named([upload.location]):
                    sentence = f"upload {upload.location}: was never completed"
                    yield Unnamed(upload.location, upload=upload.upload, sentence=sentence)
        except Denied as exc:
            yield Unnamed("", sentence=f"unfinished uploads were not looked for: {exc}")

    def remove_unnamed(self, found: Iterable[Unnamed]) -> int:
        removed = 0
        for each in found:
            if each.upload:
                abort_upload(self._bucket, each.location, each.upload)
            elif each.location:
                self._bucket.delete([each.location])
                removed += each.size
        return removed

    def blobs(self) -> Iterator[tuple[Digest, int]]:
        return self._records.blobs()

    def modified(self, digest: Digest) -> float | None:
        location = self._location(digest)
        found = self._bucket.head(location) if location else None
        return found.modified if found else None

    def _location(self, digest: Digest) -> str:
        return self._records.locations([digest]).get(digest, "")

    def _remove(self, locations: list[str]) -> None:
        """Remove doomed objects, and then their rows."""
        self._bucket.delete(locations)
        self._records.forget(locations)

    def _is_free(self, held: ExitStack, digest: Digest) -> bool:
        """Try to lock a digest that nobody transfers on this node; what an earlier writer has left of it is removed.

        Other nodes are not asked: for something small that takes longer than to write it twice.
        """
        key = str(digest)
        if not (held.enter_context(try_lock(self._layout.lock(key))) and held.enter_context(self.locked(digest))):
            return False
        with storage_errors():
            remove_partial(self._layout.partial(key))
        return True


@dataclass(frozen=True, slots=True)
class _Object:
    """The place of a blob in a bucket."""

    store: S3Store
    digest: Digest
    location: str
    size: int

    def read(self) -> bytes:
        with self.store.open_at(self.digest, self.location) as blob:
            return blob.read()
