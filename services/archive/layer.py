"""What a layer blob contains: its compression, and the digest and size of the uncompressed stream.

Gzip may have many members, zstd many (and skippable) frames, bzip2 and xz many streams: all are read. Any other trailing bytes are
refused, as Go's decoders do. That includes zero padding after gzip and zstd; only xz defines padding.

Source: RFC 1952, RFC 8878.
"""

from __future__ import annotations

import bz2
import lzma
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import NoReturn, Protocol

from stowage.services.archive.bounds import Bounds, are_too_many_members
from stowage.services.archive.compression import Compression
from stowage.services.archive.gzip import GzipError, GzipMember
from stowage.services.archive.stage import Stage
from stowage.services.archive.tar_reader import BLOCK
from stowage.services.archive.windows import MAX_WINDOW_LOG, decoder_memory
from stowage.services.errors import InvalidContent
from stowage.services.oci.digest import Digest, Digester

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_OUTPUT_BYTES = 128 << 10  # four pulls read a dozen layers at once, each with a few of these
_INPUT_BYTES = 256 << 10
_FIRST_INPUT_BYTES = 16 << 10  # of a member: bytes after a small member are copied
_DAMAGE = (GzipError, zstd.ZstdError, lzma.LZMAError, OSError, ValueError)


class _Member(Protocol):
    """One gzip member, zstd frame, bzip2 or xz stream: the interface of the standard library's decompressors."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


_DECODERS: Mapping[Compression, Callable[[int], _Member]] = {
    Compression.GZIP: lambda _: GzipMember(),
    Compression.BZIP2: lambda _: bz2.BZ2Decompressor(),
    Compression.XZ: lambda memory: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory),
    Compression.ZSTD: lambda _: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG}),
}
"""How to make a decoder that may use the given memory.

libzstd by itself accepts a window one byte larger than its largest power of two. liblzma takes 0 to mean no dictionary at all.
"""


class Decompressor:
    """Compressed chunks in, uncompressed chunks out; raises InvalidContent on damage, trailing garbage, or a bomb.

    The output of a compressed stream has chunks of 1 byte to 128 KiB; a plain stream is passed on unchanged. A decoder's memory is reserved
    while it is in use, so the caller must close this. Raises what `Reservation.hold` raises, too.
    """

    def __init__(self, compression: Compression, bounds: Bounds) -> None:
        self._compression = compression
        self._bounds = bounds
        self._memory = bounds.memory.reservation()
        self._head = b""
        self._member: _Member | None = None
        self._taken = 0
        self._members = 0
        self._size = 0
        self.is_bomb = False
        """Whether it was refused as one."""

    @property
    def size(self) -> int:
        """Uncompressed bytes so far."""
        return self._size

    def decompress(self, chunk: bytes) -> Iterator[bytes]:
        """The uncompressed bytes of this chunk; iterate to the end before the next chunk."""
        self._take(len(chunk))
        try:
            for output in self._read(chunk):
                self._count(len(output))
                yield output
        except _DAMAGE as exc:
            raise InvalidContent(f"invalid {self._compression} stream: {exc}") from exc

    def _take(self, size: int) -> None:
        """Count stored bytes; raises InvalidContent if those of all streams are far more than what was sent."""
        self._taken += size
        costs = self._bounds.costs
        if costs is not None and self._compression is not Compression.NONE and costs.take(size):
            self._refuse("compressed streams in streams have too many bytes for the size of what was sent")

    def _count(self, size: int) -> None:
        """Count bytes of output; raises InvalidContent for a bomb."""
        self._size += size
        ratio, limit, costs = self._bounds.max_ratio, self._bounds.max_bytes, self._bounds.costs
        if costs is not None and self._compression is not Compression.NONE:
            costs.inflate(size)
        if self._size > limit and self._size > ratio * self._taken:
            refused = f"{self._compression} stream holds more than {ratio} times its size"
        elif costs is not None and costs.passes(ratio, limit):
            refused = f"compressed streams hold more than {ratio} times the size of what was sent"
        else:
            return
        self._refuse(refused)

    def _count_member(self) -> None:
        """Count a member, which costs something even if it is empty; raises InvalidContent if there are too many."""
        self._members += 1
        costs = self._bounds.costs
        if are_too_many_members(self._members, self._taken) or (costs is not None and costs.begin_member()):
            self._refuse(f"{self._compression} stream has too many members for its size")

    def _refuse(self, reason: str) -> NoReturn:
        self.is_bomb = True
        raise InvalidContent(f"{reason}: refused as a bomb")

    def finish(self) -> None:
        """Mark the end of the stored bytes; raises InvalidContent if the stream is not at its end."""
        if self._member is not None or self._head:
            raise InvalidContent(f"invalid {self._compression} stream: unexpected end")

    def close(self) -> None:
        """Give back the memory; a thread that is waiting for memory in `decompress` gets Unavailable."""
        self._memory.close()
        self._member = None

    def _read(self, chunk: bytes) -> Iterator[bytes]:
        if self._compression is Compression.NONE:
            yield chunk
            return
        rest = memoryview(chunk)
        while rest:
            piece = rest[: _INPUT_BYTES if self._member is not None else _FIRST_INPUT_BYTES]
            unused = yield from self._step(piece)
            rest = rest[len(piece) - unused :]

    def _step(self, piece: memoryview) -> Generator[bytes, None, int]:
        """Yield the output of these bytes, at most to the end of a member; returns how many of them are after it."""
        member = self._member
        if member is None:
            if self._compression is Compression.XZ and piece[0] == 0 and not self._head:
                return len(bytes(piece).lstrip(b"\0"))
            head = self._head + bytes(piece) if self._head else piece
            member = self._begin(head)
            if member is None:
                return 0
            piece = memoryview(head)
        yield from _outputs(member, piece)
        if not member.eof:
            return 0
        unused = len(member.unused_data)
        self._member = None
        self._memory.release()
        return unused

    def _begin(self, head: bytes | memoryview) -> _Member | None:
        """Make the decoder for a member that begins with these bytes; None if they do not yet say how much memory it takes."""
        memory = decoder_memory(self._compression, head)
        if memory is None:
            self._head = bytes(head)
            return None
        self._head = b""
        self._count_member()
        self._memory.hold(memory)
        self._member = _DECODERS[self._compression](memory)
        return self._member


def _outputs(member: _Member, piece: memoryview) -> Iterator[bytes]:
    if output := member.decompress(piece, _OUTPUT_BYTES):
        yield output
    while not member.eof and not member.needs_input:
        if output := member.decompress(b"", _OUTPUT_BYTES):
            yield output


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
