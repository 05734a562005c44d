"""The facts of a layer blob: the digest and size of its uncompressed stream."""

from __future__ import annotations

from stowage.services.archive.bounds import Bounds
from stowage.services.archive.compression import Compression, Decompressor
from stowage.services.archive.stage import Stage
from stowage.services.archive.tar_reader import BLOCK
from stowage.services.errors import InvalidContent
from stowage.services.oci.digest import Digest, Digester


class LayerDigester:
    """Computes the digest and size of the uncompressed stream from the stored bytes; for a large stream in threads of its own.

    A plain tar is not hashed here if the caller computes the sha256 of the stored bytes anyway: that is the diff_id.
    """

    def __init__(self, bounds: Bounds, *, algorithm: str = "sha256") -> None:
        """`algorithm` is the one that the caller uses for the stored bytes; the bounds are the Decompressor's."""
        self._bounds = bounds
        self._algorithm = algorithm
        self._inflation: _Inflation | None = None
        self.restart()

    def restart(self) -> None:
        """Forget what was fed."""
        self.close()
        self._fed = 0
        self._held: list[bytes] | None = []
        self._is_tar = False
        self._inflation = None

    def feed(self, chunk: bytes) -> None:
        """Take the next stored bytes; blocks if the threads are a few MiB behind. The chunk must not change afterwards.

        Raises what `Reservation.hold` raises; errors in the stream are only noticed by `finish`.
        """
        self._fed += len(chunk)
        if self._inflation is not None:
            self._inflation.put(chunk)
        elif self._held is not None:
            self._held.append(chunk)
            if self._fed >= BLOCK:
                self._begin(self._held)

    def finish(self, stored: Digest) -> tuple[Digest, int] | None:
        """diff_id and uncompressed size in bytes, or None if the bytes are neither a tar nor a complete compressed stream.

        `stored` is the digest of the bytes fed. Raises InvalidContent for a bomb.
        """
        if self._held is not None:
            self._begin(self._held)
        if self._inflation is not None:
            return self._inflation.finish()
        return (stored, self._fed) if self._is_tar else None

    def close(self) -> None:
        """Stop the threads, whatever was fed."""
        if self._inflation is not None:
            self._inflation.close()

    def _begin(self, held: list[bytes]) -> None:
        self._held = None
        head = b"".join(chunk[:BLOCK] for chunk in held)[:BLOCK]
        compression = Compression.detect(head)
        self._is_tar = compression is Compression.NONE and _begins_tar(head)
        if compression is Compression.NONE and not (self._is_tar and self._algorithm != "sha256"):
            return
        self._inflation = _Inflation(Decompressor(compression, self._bounds))
        for chunk in held:
            self._inflation.put(chunk)


class _Inflation:
    """Decompresses in one thread and hashes in another, since either alone keeps a core busy."""

    def __init__(self, decompressor: Decompressor) -> None:
        self._decompressor = decompressor
        self._digester = Digester()
        self._hashing = Stage(self._digester.update)
        self._inflating = Stage(self._inflate)

    def put(self, chunk: bytes) -> None:
        self._inflating.put(chunk)
        if self._inflating.failed and not isinstance(self._inflating.error, InvalidContent):
            self._inflating.finish()

    def finish(self) -> tuple[Digest, int] | None:
        try:
            self._inflating.finish()
            self._hashing.finish()
            self._decompressor.finish()
        except InvalidContent:
            if self._decompressor.is_bomb:
                raise
            return None
        return self._digester.digest, self._decompressor.size

    def close(self) -> None:
        self._decompressor.close()
        self._inflating.close()
        self._hashing.close()

    def _inflate(self, chunk: bytes) -> None:
        for output in self._decompressor.decompress(chunk):
            self._hashing.put(output)


def begins_stream(head: bytes) -> bool:
    """Whether these bytes begin a tar or a compressed stream; at least 512 of them are needed unless there are no more."""
    return Compression.detect(head) is not Compression.NONE or _begins_tar(head[:BLOCK])


def _begins_tar(head: bytes) -> bool:
    """Whether a tar begins like this: a header block with a correct checksum, the end of an empty archive, or nothing at all."""
    if len(head) < BLOCK or not any(head):
        return not head.strip(b"\0") and len(head) % BLOCK == 0
    try:
        checksum = int(head[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return checksum == sum(head[:148]) + 8 * ord(" ") + sum(head[156:])
