"""Detection of a stream's compression.

Source: RFC 1952, RFC 8878; moby's go-archive compression package (detection).
"""

from __future__ import annotations

from enum import StrEnum


class Compression(StrEnum):
    """How a stream is compressed, as detected from its first bytes."""

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
