"""How much memory a decoder will use, according to the head of its stream.

    xz       := header[12] block-header ...            block-header := size[1] flags[1] [sizes] filter ...   filter := id size properties
    zstd     := magic[4] descriptor[1] [window[1]] [dictionary] [content-size] ...
    bzip2    := "BZh" level[1] ...

Source: The .xz File Format 1.2.0 sections 2.1.1, 3.1 and 5.3.1; RFC 8878 section 3.1.1.1; bzip2's manual, "Memory management".
"""

from __future__ import annotations

from stowage.services.archive.compression import Compression

MAX_WINDOW_LOG = 27
MAX_WINDOW = 1 << MAX_WINDOW_LOG
"""The memory that one decoder may use: the largest window of `zstd --long=27`. The decoders are set to refuse more."""

_XZ_HEADER = 12
_XZ_BASE = 1 << 20
_LZMA2 = 0x21
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_HEAD = 18
_ZSTD_BASE = 1 << 20
_BZIP2_BLOCK = 100_000


def decoder_memory(compression: Compression, head: bytes | memoryview) -> int | None:
    """Bytes of memory that the decoder of a member that begins like this uses; None if more of the head is needed.

    Returns 0 if that is little (gzip), or if the decoder will refuse the head.
    """
    match compression:
        case Compression.XZ:
            return _xz(bytes(head[: _XZ_HEADER + 1024]))
        case Compression.ZSTD:
            return _zstd(bytes(head[:_ZSTD_HEAD]))
        case Compression.BZIP2:
            return _bzip2(bytes(head[:4]))
    return 0


def _xz(head: bytes) -> int | None:
    """The memory for the dictionary of the first block; the decoder is limited to the same for later blocks."""
    if not head.startswith(b"\xfd7zXZ\0"[: len(head)]):
        return 0
    if len(head) <= _XZ_HEADER:
        return None
    length = 4 * (head[_XZ_HEADER] + 1)
    if head[_XZ_HEADER] == 0:  # the index: there is no block
        return 0
    if len(head) < _XZ_HEADER + length:
        return None
    try:
        window = _xz_dictionary(head[_XZ_HEADER : _XZ_HEADER + length])
    except IndexError:
        return 0
    return min(window + _XZ_BASE, MAX_WINDOW) if window else 0


def _xz_dictionary(block: bytes) -> int:
    """The size of the LZMA2 dictionary in a block header; raises IndexError if the header ends too early."""
    flags, position = block[1], 2
    for present in (flags & 0x40, flags & 0x80):  # compressed and uncompressed size
        if present:
            _, position = _xz_number(block, position)
    for _ in range((flags & 3) + 1):
        identifier, position = _xz_number(block, position)
        properties, position = _xz_number(block, position)
        if identifier == _LZMA2:
            bits = block[position] & 0x3F
            return (2 | (bits & 1)) << (bits // 2 + 11)
        position += properties
    return 0


def _xz_number(block: bytes, position: int) -> tuple[int, int]:
    """A number with seven bits per byte, the lowest first, and the position after it."""
    number = shift = 0
    while True:
        byte = block[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position


def _zstd(head: bytes) -> int | None:
    """The memory for the window of a frame, or for its content if that is smaller."""
    if not head.startswith(_ZSTD_MAGIC[: len(head)]):
        return 0
    if len(head) <= len(_ZSTD_MAGIC):
        return None
    descriptor = head[4]
    single = descriptor & 0x20
    size_bytes = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    end = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + size_bytes
    if len(head) < end:
        return None
    content = int.from_bytes(head[end - size_bytes : end], "little") + (256 if size_bytes == 2 else 0)
    window = content if single else (1 << 10 + (head[5] >> 3)) // 8 * (8 + (head[5] & 7))
    if window > MAX_WINDOW:
        return 0
    return min(window, content) + _ZSTD_BASE if size_bytes else window + _ZSTD_BASE


def _bzip2(head: bytes) -> int | None:
    """Four bytes for each byte of a block, and a table of 100 KB."""
    if not head.startswith(b"BZh"[: len(head)]):
        return 0
    if len(head) < 4:
        return None
    return _BZIP2_BLOCK * (1 + 4 * (head[3] - ord("0"))) if head[3:4] in b"123456789" else 0
