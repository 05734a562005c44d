"""Compressed streams: how they are recognized, decoded and bounded, and a stream of bytes as a blocking `read(n)` of what it inflates to.

Gzip may have many members, zstd many (and skippable) frames, bzip2 and xz many streams: all are read. Any other trailing bytes are
refused, as Go's decoders do. That includes zero padding after gzip and zstd; only xz defines padding.

The memory of a decoder is reserved before it is made, and released at the end of its member, even if no bytes arrive meanwhile: 4 MiB for
bzip2, 9 MiB for xz and zstd, whose usual windows have up to 8 MiB, and 128 MiB for those whose head asks for more. A window above 128 MiB
is refused. Gzip takes next to nothing.

Source: RFC 1952, RFC 8878, The .xz File Format 1.2.0; moby's go-archive compression package (detection).
"""

from __future__ import annotations

import bz2
import lzma
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from enum import StrEnum
from typing import NoReturn, Protocol

from isal import igzip_lib

from stowage.services.archive.bounds import Bounds, Costs, are_too_many_members
from stowage.services.archive.tar_reader import CHUNK
from stowage.services.budget import Reservation
from stowage.services.errors import InvalidContent

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Compression(StrEnum):
    """The compression of a stream, as detected from its first bytes."""

    NONE = "none"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"

    @classmethod
    def detect(cls, head: bytes) -> Compression:
        """Detect the compression from the first ten bytes (moby's go-archive compression.Detect)."""
        for magic, compression in _MAGICS.items():
            if head.startswith(magic):
                return compression
        skippable = len(head) >= 8 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18"
        return cls.ZSTD if skippable else cls.NONE


_MAGICS = {
    b"BZh": Compression.BZIP2,
    b"\x1f\x8b\x08": Compression.GZIP,
    b"\xfd7zXZ\x00": Compression.XZ,
    b"\x28\xb5\x2f\xfd": Compression.ZSTD,
}


_GZIP_MAGIC = b"\x1f\x8b\x08"
_HEADER_CHECKSUM, _EXTRA, _NAME, _COMMENT = 2, 4, 8, 16
_FIXED_BYTES = 10
_MAX_HEADER_BYTES = 128 << 10

_GzipError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # isal's stub takes the class for an instance


class _GzipMember:
    """Decodes one member. isal misreads some headers that it gets in two pieces (those with a checksum, or with an extra field and a name),
    so the header is collected here first. Raises an error of isal, or ValueError.
    """

    def __init__(self) -> None:
        self._header: bytearray | None = bytearray()
        self._member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def needs_input(self) -> bool:
        return self._member.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        if self._header is None:
            return self._member.decompress(data, max_length)
        self._header += data
        if not _is_whole_header(self._header):
            return b""
        head, self._header = self._header, None
        return self._member.decompress(head, max_length)


def _is_whole_header(head: bytearray) -> bool:
    """Whether this is a member's complete header (RFC 1952 section 2.3), or something that the decoder will refuse."""
    if not head.startswith(_GZIP_MAGIC[: len(head)]):
        return True
    if len(head) < _FIXED_BYTES:
        return False
    flags, end = head[3], _FIXED_BYTES
    if flags & _EXTRA:
        end += 2 + int.from_bytes(head[10:12], "little")
    for text in (_NAME, _COMMENT):
        if flags & text:
            end = head.find(0, end) + 1 or len(head) + 1
    if flags & _HEADER_CHECKSUM:
        end += 2
    if end > len(head) > _MAX_HEADER_BYTES:
        raise ValueError("header too long")
    return end <= len(head)


_OUTPUT_BYTES = 128 << 10  # four pulls read a dozen layers at once, each with a few of these
_INPUT_BYTES = 256 << 10
_FIRST_INPUT_BYTES = 16 << 10  # of a member: bytes after a small member are copied
_DAMAGE = (_GzipError, zstd.ZstdError, lzma.LZMAError, OSError, ValueError)


class _Decoder(Protocol):
    """One gzip member, zstd frame, bzip2 or xz stream: the interface of the standard library's decompressors."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


_MIB = 1 << 20
_USUAL_WINDOW, _LARGE_WINDOW = 8 * _MIB, 128 * _MIB
"""The window of `xz -6` and `zstd -19`, which is also what RFC 8878 asks of every decoder, and that of `zstd --long=27`."""

DECODER_BYTES: Mapping[Compression, Sequence[int]] = {
    Compression.GZIP: (0,),
    Compression.BZIP2: (4 * _MIB,),
    Compression.XZ: (_USUAL_WINDOW + _MIB, _LARGE_WINDOW),
    Compression.ZSTD: (_USUAL_WINDOW + _MIB, _LARGE_WINDOW),
}
"""The memory of a decoder, and of the one that takes its place if the head of a member asks for more."""

LARGEST_DECODER = _LARGE_WINDOW

_NEEDS_MORE = ("Memory usage limit exceeded", "requires too much memory")
"""What liblzma and libzstd say of a window that is too large."""

_MEMBER_HEAD_BYTES = 2048
"""A head of xz, which is the longest, has 1036."""


def _make_decoder(compression: Compression, *, is_large: bool) -> _Decoder:
    match compression:
        case Compression.BZIP2:
            return bz2.BZ2Decompressor()
        case Compression.XZ:  # what liblzma needs for the largest window is above this limit
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LARGE_WINDOW if is_large else _USUAL_WINDOW + _MIB)
        case Compression.ZSTD:  # without this option libzstd accepts a window that is one byte larger than its largest power of two
            window = _LARGE_WINDOW if is_large else _USUAL_WINDOW
            return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window.bit_length() - 1})
    return _GzipMember()


class Decompressor:
    """Compressed chunks in, uncompressed chunks out; raises InvalidContent on damage, trailing garbage, or a bomb.

    The output of a compressed stream has chunks of 1 byte to 128 KiB; a plain stream is passed on unchanged. A decoder's memory is reserved
    while it is in use, so the caller must close this. Raises what `Reservation.hold` raises, too.
    """

    def __init__(self, compression: Compression, bounds: Bounds) -> None:
        self._compression = compression
        self._bounds = bounds
        self._memory = Reservation(bounds.memory)
        self._head: bytes | None = None  # what the member began with, until it is known that its decoder can read it
        self._member: _Decoder | None = None
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
        if self._member is not None:
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
        if self._member is None:
            if self._compression is Compression.XZ and piece[0] == 0:
                return len(bytes(piece).lstrip(b"\0"))
            self._count_member()
            self._begin(is_large=False)
            self._head = b""
        member, output = self._decode(piece)
        if output:
            yield output
        while not member.eof and not member.needs_input:
            if output := member.decompress(b"", _OUTPUT_BYTES):
                yield output
        if not member.eof:
            return 0
        self._member = None
        self._memory.shrink()
        return len(member.unused_data)

    def _decode(self, piece: memoryview) -> tuple[_Decoder, bytes]:
        """Give these bytes to the decoder; returns it, and its first output.

        A usual decoder refuses a head that asks for a larger window; the member is then decoded by a large one.
        """
        if self._member is None:
            raise RuntimeError("no member has begun")
        try:
            output = self._member.decompress(piece, _OUTPUT_BYTES)
        except _DAMAGE as exc:
            if self._head is None or not any(words in str(exc) for words in _NEEDS_MORE):
                raise
            whole, self._head = self._head + bytes(piece), None
            return (member := self._begin(is_large=True)), member.decompress(whole, _OUTPUT_BYTES)
        if self._head is not None:
            is_head = not output and len(self._head) + len(piece) <= _MEMBER_HEAD_BYTES
            self._head = self._head + bytes(piece) if is_head else None
        return self._member, output

    def _begin(self, *, is_large: bool) -> _Decoder:
        """Make a decoder, once there is memory for it."""
        self._member = None
        self._memory.shrink()
        self._memory.hold(DECODER_BYTES[self._compression][is_large])
        self._member = _make_decoder(self._compression, is_large=is_large)
        return self._member


_HEAD_BYTES = 10


class Readable(Protocol):
    """A stream such as a request body: `read(n)` blocks for 1 to n bytes, and returns none only at the end."""

    def read(self, size: int, /) -> bytes: ...


class Counted:
    """A source whose bytes are counted as what the client of an operation sent."""

    def __init__(self, source: Readable, costs: Costs) -> None:
        self._source = source
        self._costs = costs

    def read(self, size: int, /) -> bytes:
        chunk = self._source.read(size)
        self._costs.send(len(chunk))
        return chunk


@contextmanager
def uncompressed(source: Readable, bounds: Bounds) -> Iterator[Callable[[int], bytes]]:
    """Detect the compression from the first bytes; yields a `read(n)` that raises as `decompress` does."""
    head = b""
    while len(head) < _HEAD_BYTES and (more := source.read(_HEAD_BYTES - len(head))):
        head += more
    compression = Compression.detect(head)
    if compression is Compression.NONE:
        yield _read_after(head, source)
        return
    with closing(decompress(_chunks_after(head, source), compression, bounds)) as chunks:
        yield read_from(chunks)


def decompress(chunks: Iterable[bytes], compression: Compression, bounds: Bounds) -> Generator[bytes, None, None]:
    """The complete uncompressed stream of stored chunks, closed by the caller.

    Raises InvalidContent on damage or a bomb, and what `Reservation.hold` raises.
    """
    with closing(Decompressor(compression, bounds)) as decompressor:
        for chunk in chunks:
            yield from decompressor.decompress(chunk)
        decompressor.finish()


class Chunks:
    """Chunks as a stream that can be read, or skipped without a copy."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._current = memoryview(b"")

    def read(self, size: int) -> bytes:
        """1 to `size` bytes, and none only at the end."""
        return bytes(self._take(size))

    def skip(self, size: int) -> int:
        """Skip 1 to `size` bytes, and none only at the end; returns how many."""
        return len(self._take(size))

    def _take(self, size: int) -> memoryview:
        while not self._current and (chunk := next(self._chunks, None)) is not None:
            self._current = memoryview(chunk)
        piece, self._current = self._current[:size], self._current[size:]
        return piece


def read_from(chunks: Iterator[bytes]) -> Callable[[int], bytes]:
    """The chunks as a `read(n)` that returns 1 to n bytes, and none only at the end."""
    return Chunks(chunks).read


def _read_after(head: bytes, source: Readable) -> Callable[[int], bytes]:
    rest = head

    def read(size: int) -> bytes:
        nonlocal rest
        if not rest:
            return source.read(size)
        piece, rest = rest[:size], rest[size:]
        return piece

    return read


def _chunks_after(head: bytes, source: Readable) -> Iterator[bytes]:
    chunk = head
    while chunk:
        yield chunk
        chunk = source.read(CHUNK)
