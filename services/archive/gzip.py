"""Gzip members for the isal decoder, in chunks of any size.

isal misreads some headers that it gets in two pieces (those with a checksum, or with an extra field and a name). So the header is
collected here first.

Source: RFC 1952 section 2.3.
"""

from __future__ import annotations

from isal import igzip_lib

_MAGIC = b"\x1f\x8b\x08"
_HEADER_CHECKSUM, _EXTRA, _NAME, _COMMENT = 2, 4, 8, 16
_FIXED_BYTES = 10
_MAX_HEADER_BYTES = 128 << 10

GzipError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # isal's stub takes the class for an instance


class GzipMember:
    """Decodes one member, with the interface of the standard library's decompressors. Raises GzipError or ValueError."""

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
    if not head.startswith(_MAGIC[: len(head)]):
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
