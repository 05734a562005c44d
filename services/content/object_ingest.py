"""One writer's partial of a blob that becomes an object: written to the spool as to a folder, and sent from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import uuid4

from stowage.services.budget import Budget
from stowage.services.content.bucket import PART_BYTES, Bucket
from stowage.services.content.bucket_errors import Denied
from stowage.services.content.files import partial_bytes, remove_partial
from stowage.services.content.ingests import FileIngest
from stowage.services.content.paths import Layout, key_of
from stowage.services.content.protocol import ObjectRecords
from stowage.services.content.upload import UPLOAD_BYTES, Upload
from stowage.services.errors import EngineError, OutOfSpace, Unavailable
from stowage.services.files import storage_errors
from stowage.services.meter import Note
from stowage.services.oci.digest import Digest

BLOBS = "blobs"
"""The folder of the objects that are blobs."""

MOST_OBJECT_BYTES = 10_000 * PART_BYTES
"""An object has at most 10,000 parts."""

_LOOK_BYTES = 64 << 20


def new_location() -> str:
    return f"{BLOBS}/{uuid4().hex}"


class ObjectIngest(FileIngest):
    """The ingest of one key (services/content/protocol.py: Ingest).

    Once the partial is larger than a part, an upload follows it; its end is let through only by `commit`, after size and digest were
    checked. Smaller blobs are sent then. Before an object is begun, an intent is recorded under the lease.
    """

    def __init__(
        self,
        layout: Layout,
        key: str,
        waiting: Callable[[], None],
        note: Note,
        *,
        bucket: Bucket,
        records: ObjectRecords,
        lease: str,
        location: str,
        memory: Budget,
        spool_bytes: int,
    ) -> None:
        super().__init__(layout, key, waiting, note)
        self._bucket, self._records, self._lease, self._memory = bucket, records, lease, memory
        self._spool_bytes = spool_bytes
        self._intended = location
        self._unlooked = _LOOK_BYTES
        self._upload: Upload | None = None

    def adopt(self) -> None:
        """A bucket has no blob without a row."""

    def _reread(self) -> Iterator[bytes]:
        for chunk in super()._reread():
            self._follow()
            yield chunk

    def write(self, chunk: bytes | memoryview) -> None:
        self._require_space(len(chunk))
        super().write(chunk)
        self._follow()

    def restart(self) -> None:
        self._abandon()
        super().restart()

    def close(self) -> None:
        self._abandon()
        super().close()

    def _publish(self, digest: Digest) -> None:
        try:
            self._send()
        except (Denied, Unavailable):
            self._keep = self._target is not None and not self._is_beside
            raise
        with storage_errors():
            self._published = True
            remove_partial(self._path)

    def _send(self) -> None:
        """Complete the object; what failed while the bytes arrived is sent once more, as another object."""
        with storage_errors():
            self._cut()
        if self._upload is not None:
            upload, self._upload = self._upload, None
            with suppress(EngineError):
                upload.finish(self._offset)
                self.location = upload.location
                return
        location = self._intend()
        if self._offset <= PART_BYTES:
            self._send_whole(location)
        else:
            self._take_memory(UPLOAD_BYTES)
            self._begin_upload(location, self._memory).finish(self._offset)
        self.location = location

    def _send_whole(self, location: str) -> None:
        self._take_memory(PART_BYTES)
        try:
            with storage_errors():
                content = self._path.read_bytes() if self._offset else b""
            self._bucket.put(location, content)
        finally:
            self._memory.give_back(PART_BYTES)

    def _follow(self) -> None:
        """Begin the upload when a part is there and memory is free, and let it send what is written."""
        if self._upload is None and self._offset > PART_BYTES and self._memory.unreserved.try_take(UPLOAD_BYTES):
            try:
                location = self._intend()
            except BaseException:
                self._memory.unreserved.give_back(UPLOAD_BYTES)
                raise
            self._upload = self._begin_upload(location, self._memory.unreserved)
        if self._upload is not None:
            self._upload.advance(self._offset)

    def _begin_upload(self, location: str, memory: Budget) -> Upload:
        try:
            return Upload(self._bucket, location, self._path, memory)
        except BaseException:
            memory.give_back(UPLOAD_BYTES)
            raise

    def _take_memory(self, size: int) -> None:
        if not self._memory.take(size):
            raise Unavailable("too many other blobs are being written to the bucket: try again later")

    def _intend(self) -> str:
        location, self._intended = self._intended, ""
        if not location:
            location = new_location()
            self._records.intend(self._lease, [location])
        return location

    def _abandon(self) -> None:
        if self._upload is not None:
            upload, self._upload = self._upload, None
            upload.abandon()

    def _require_space(self, size: int) -> None:
        """Raise OutOfSpace for a blob that is too large, and for a spool beyond its limit, which is looked at now and then."""
        require_fitting(self._offset + size, self._spool_bytes)
        self._unlooked += size
        if self._unlooked < _LOOK_BYTES:
            return
        self._unlooked = 0
        if spooled_bytes(self._layout) + size > self._spool_bytes:
            raise OutOfSpace(f"the partial blobs of this node take more than the {self._spool_bytes} bytes that STOWAGE_SPOOL_BYTES allows")


def require_fitting(size: int, spool_bytes: int) -> None:
    """Raise OutOfSpace for a blob that has too many parts, or does not fit into an empty spool."""
    if size > MOST_OBJECT_BYTES:
        raise OutOfSpace(f"a blob of {size} bytes is too large: in a bucket it may have at most {MOST_OBJECT_BYTES}")
    if size > spool_bytes:
        raise OutOfSpace(f"a blob of {size} bytes is too large for the {spool_bytes} bytes that STOWAGE_SPOOL_BYTES allows")


@storage_errors()
def spooled_bytes(layout: Layout) -> int:
    """The bytes of all partials."""
    keys = (key_of(folder.name) for folder in layout.ingests.iterdir())
    return sum(partial_bytes(layout.partial(key)) for key in keys if key)
