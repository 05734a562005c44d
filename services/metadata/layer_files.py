"""Lists of the files of layers, as rows: derived from the blobs, and removed with them or beyond a limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from sqlalchemy import BigInteger, Connection, bindparam, cast, delete, exists, func, insert, select

from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.rows import CHUNK, in_chunks, to_digest
from stowage.services.metadata.tables import blob, layer_files
from stowage.services.oci.digest import Digest

ROW_BYTES = 512
"""What a row counts besides its list, so that there are never many of them."""

_AT_ONCE = 64
_LISTS = select(layer_files.c.digest, layer_files.c.list, layer_files.c.checksum).where(layer_files.c.digest.in_(DIGESTS))
_BYTES = select(cast(func.coalesce(func.sum(layer_files.c.bytes), 0), BigInteger))
_OLDEST = select(layer_files.c.digest, layer_files.c.bytes).order_by(layer_files.c.kept_at, layer_files.c.digest).limit(_AT_ONCE)
_PAGE = select(layer_files.c.digest).where(layer_files.c.digest > bindparam("after")).order_by(layer_files.c.digest).limit(CHUNK)
_DELETE = delete(layer_files).where(layer_files.c.digest.in_(DIGESTS))


class LayerFiles:
    """Lists of what is in layers, as services/archive/file_list.py dumps them; what is not kept is read again from the blob."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        """The lists that are kept of these blobs, without those that were damaged."""
        rows = (row for chunk in in_chunks(digests) for row in self._connection.execute(_LISTS, {"digests": chunk}))
        return {to_digest(digest): kept for digest, kept, checksum in rows if zlib.crc32(kept) == checksum}

    def put(self, digest: Digest, kept: bytes, now: int, *, most: int) -> bool:
        """Keep the list of a blob that is present, instead of an older one; the oldest others are removed until all count at most `most`
        bytes. Returns whether it is kept: not if it alone is larger.
        """
        self._connection.execute(_DELETE, {"digests": [str(digest)]})
        size = len(kept) + ROW_BYTES
        if size > most or not self._connection.scalar(select(exists().where(blob.c.digest == str(digest)))):
            return False
        self._make_room(most - size)
        row = {"digest": str(digest), "kept_at": now, "bytes": size, "checksum": zlib.crc32(kept), "list": kept}
        self._connection.execute(insert(layer_files), row)
        return True

    def has(self, digest: Digest) -> bool:
        """Whether there is a list of this blob, be it damaged."""
        return bool(self._connection.scalar(select(exists().where(layer_files.c.digest == str(digest)))))

    def digests(self, after: Digest | None) -> list[Digest]:
        """Some blobs that have a list, in the order of their digests, after this one; none at the end."""
        return [to_digest(digest) for digest in self._connection.scalars(_PAGE, {"after": str(after or "")})]

    def remove(self, digests: Iterable[Digest]) -> None:
        """Remove the lists of these blobs; they are read again when somebody looks."""
        for chunk in in_chunks(digests):
            self._connection.execute(_DELETE, {"digests": chunk})

    def bytes(self) -> int:
        """How many bytes all of them count."""
        return self._connection.scalar(_BYTES) or 0

    def _make_room(self, most: int) -> None:
        """Remove the oldest lists until the others have at most so many bytes."""
        excess = self.bytes() - most
        while excess > 0:
            rows = self._connection.execute(_OLDEST).all()
            for digest, size in rows:
                if excess > 0:
                    self._connection.execute(_DELETE, {"digests": [digest]})
                    excess -= size
