"""Reading tar as a stream: a bounded reader over a blocking `read(n)`.

    archive := (header content padding)* block-of-zeros block-of-zeros
    header  := 512 bytes: name[100] mode[8] uid[8] gid[8] size[12] mtime[12] checksum[8] type[1] link[100] magic[8] ... prefix[155]

Numbers are octal text, or base-256 with the high bit set. A longer name or link comes before its header: as a GNU `L` or `K` member, or as
a PAX `x` member of records "<length> <key>=<value>\\n". Nothing is ever extracted; a member is a name and a stream of chunks.

Source: POSIX.1-1988 ustar and POSIX.1-2001 pax, GNU tar manual "Basic Tar Format"; if those leave a choice, Go's archive/tar.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from stowage.services.errors import InvalidContent

BLOCK = 512
CHUNK = 1 << 20
MAX_EXTENSION_BYTES = 1 << 20
"""The maximum size of a long name, a long link or a set of PAX records."""

ARCHIVE_EXTENSION_BYTES = 16 << 20
MEMBER_EXTENSION_BYTES = 5 << 10
"""How many bytes the extensions of all headers of an archive may take: the first number, plus the second for each member so far.

That is enough for the longest path of Linux (4 KiB) for every member, and attributes of any size for some. It bounds the work between two
members, and the work for an archive of nothing but extensions, which inflates from almost nothing.
"""

_RECORD_BYTES = 128
"""How many bytes a PAX record counts in addition to its own, which may be as few as five: it costs as much as inflating this many."""

_ZEROS = bytes(BLOCK)
_MAX_SIZE = (1 << 63) - 1
_KEYS = frozenset({b"path", b"linkpath", b"size"})
_ATTRIBUTES = frozenset({b"uid", b"gid", b"mtime", b"GNU.sparse.name", b"GNU.sparse.major"})
_SPARSE = b"GNU.sparse."
_LINE_FEED = 0x0A


class MemberType(Enum):
    """The type of a member. Hard links and special files have no content."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    HARDLINK = "hard link"
    SPECIAL = "device or pipe"
    SPARSE = "sparse file"
    UNKNOWN = "member of an unknown type"


_TYPES = {
    b"0": MemberType.FILE,
    b"\0": MemberType.FILE,
    b"7": MemberType.FILE,
    b"1": MemberType.HARDLINK,
    b"2": MemberType.SYMLINK,
    b"3": MemberType.SPECIAL,
    b"4": MemberType.SPECIAL,
    b"5": MemberType.DIRECTORY,
    b"6": MemberType.SPECIAL,
    b"S": MemberType.SPARSE,
}
_WITH_CONTENT = (MemberType.FILE, MemberType.SPARSE, MemberType.UNKNOWN)  # a set would hash the type, which is slow


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the archive names it: the name is neither cleaned nor safe. A sparse file has its content as stored, not expanded."""

    name: str
    type: MemberType
    size: int
    link: str


@dataclass(slots=True)
class _Extension:
    """Fields that precede a header and override it."""

    name: str | None = None
    link: str | None = None
    size: int | None = None
    sparse: bool = False
    attributes: Mapping[bytes, bytes] | None = None


class TarReader:
    """Walks the members of a tar; raises InvalidContent in Go's words on damage, and "unexpected EOF" if the source ends too early.

    `read(n)` returns 1 to n bytes, and none only at the end of the source. `skip(n)` does the same, but returns only their number; without
    it, content that nobody wants is read. A source that ends after a member's content ends the archive, as in Go.
    """

    def __init__(self, read: Callable[[int], bytes], skip: Callable[[int], int] | None = None) -> None:
        self._read = read
        self._skip_up_to = skip or (lambda size: len(read(min(CHUNK, size))))
        self._content_left = 0
        self._padding = 0
        self._extension_bytes_left = ARCHIVE_EXTENSION_BYTES
        self.header = _ZEROS  # of the current member
        self.attributes: Mapping[bytes, bytes] | None = None  # its PAX records in _ATTRIBUTES

    def __iter__(self) -> Iterator[Member]:
        while (member := self._next()) is not None:
            yield member

    def chunks(self, most: int = CHUNK) -> Iterator[bytes]:
        """The rest of the current member's content, in chunks of up to 1 MiB, or so many bytes."""
        while self._content_left:
            chunk = self._read(min(most, self._content_left))
            if not chunk:
                raise InvalidContent("unexpected EOF")
            self._content_left -= len(chunk)
            yield chunk

    def skip_some(self) -> bool:
        """Skip some of the current member's content; returns whether more is left."""
        if self._content_left:
            skipped = self._skip_up_to(self._content_left)
            if not skipped:
                raise InvalidContent("unexpected EOF")
            self._content_left -= skipped
        return self._content_left > 0

    def _next(self) -> Member | None:
        extension = _Extension()
        while True:
            header = self._read_header()
            if header is None:
                return None
            kind = header[156:157]
            size = _number(header[124:136])
            if kind in b"xgLK":
                self._read_extension(kind, size, extension)
                continue
            return self._enter(header, kind, size, extension)

    def _extend(self, size: int) -> None:
        """Count bytes beyond a member's own header."""
        self._extension_bytes_left -= size
        if self._extension_bytes_left < 0:
            raise InvalidContent("archive/tar: invalid tar header: its extensions are too many or too long")

    def _enter(self, header: bytes, kind: bytes, size: int, extension: _Extension) -> Member:
        self._extension_bytes_left += MEMBER_EXTENSION_BYTES
        if kind == b"S":
            self._skip_sparse_map(header)
        name = extension.name if extension.name is not None else _name(header)
        link = extension.link if extension.link is not None else _text(header[157:257])
        member_type = _TYPES.get(kind, MemberType.UNKNOWN)
        if kind == b"\0" and name.endswith("/"):
            member_type = MemberType.DIRECTORY
        elif extension.sparse:
            member_type = MemberType.SPARSE
        size = extension.size if extension.size is not None else size
        if member_type not in _WITH_CONTENT:
            size = 0
        self._content_left, self._padding = size, -size % BLOCK
        self.header, self.attributes = header, extension.attributes
        return Member(name, member_type, size, link)

    def _skip_sparse_map(self, header: bytes) -> None:
        """Skip the rest of an old GNU sparse file's map: more blocks, as long as byte 482 of the header or 504 of the last block is set."""
        more = header[482]
        while more:
            block = self._read_up_to(BLOCK)
            if len(block) < BLOCK:
                raise InvalidContent("unexpected EOF")
            self._extend(BLOCK)
            more = block[504]

    def _read_header(self) -> bytes | None:
        """The next header, or None at the end: two blocks of zeros, or the end of the source at a block boundary."""
        while self.skip_some():
            pass
        header, self._padding = self._read_up_to(self._padding + BLOCK)[self._padding :], 0
        if header == _ZEROS:
            second = self._read_up_to(BLOCK)
            if second and second != _ZEROS[: len(second)]:
                raise InvalidContent("archive/tar: invalid tar header")
            return None
        if not header:
            return None
        if len(header) < BLOCK:
            raise InvalidContent("unexpected EOF")
        _check(header)
        return header

    def _read_extension(self, kind: bytes, size: int, extension: _Extension) -> None:
        if size > MAX_EXTENSION_BYTES:
            raise InvalidContent("archive/tar: header field too long")
        self._extend(BLOCK + size)
        self._content_left, self._padding = size, -size % BLOCK
        content = b"".join(self.chunks())
        if kind == b"L":
            extension.name = _text(content)
        elif kind == b"K":
            extension.link = _text(content)
        elif kind == b"x":
            self._extend(_RECORD_BYTES * _apply_pax(content, extension))

    def _read_up_to(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end of the source."""
        block = self._read(size)
        while 0 < len(block) < size:
            more = self._read(size - len(block))
            if not more:
                break
            block += more
        return block


def begins_archive(head: bytes) -> bool:
    """Whether a stream whose first 512 bytes these are is a tar: a header, or the end of an empty archive."""
    if len(head) < BLOCK:
        return False
    try:
        _check(head)
    except InvalidContent:
        return head == _ZEROS
    return True


def _check(header: bytes) -> None:
    """Check the checksum: the sum of all bytes, with its own eight as spaces. adler32 gives that sum modulo 65521 in one call."""
    stored = _number(header[148:156])
    own = sum(header[148:156]) - 8 * 0x20
    if (zlib.adler32(header) - 1 - own - stored) & 0xFFFF == 0:
        return
    unsigned = sum(header) - own
    signed = unsigned - 256 * sum(byte > 127 for byte in header)
    if stored not in (unsigned, signed):
        raise InvalidContent("archive/tar: invalid tar header")


def _number(field: bytes) -> int:
    """Read octal digits amid blanks, or base-256; a number that is negative or larger than any file is refused."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") - (1 << (8 * len(field) - 1))
        if field[0] & 0x40 or value > _MAX_SIZE:
            raise InvalidContent("archive/tar: invalid tar header")
        return value
    digits = field.strip(b" \0").partition(b"\0")[0]
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise InvalidContent("archive/tar: invalid tar header")
    return int(digits, 8)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _name(header: bytes) -> str:
    name = _text(header[:100])
    if header[257:263] != b"ustar\0":
        return name
    prefix = _text(header[345:476] if header[508:512] == b"tar\0" else header[345:500])
    return f"{prefix}/{name}" if prefix else name


def _apply_pax(content: bytes, extension: _Extension) -> int:
    """Read the records of a PAX header and return their number. Only names, sizes, attributes and marks of a sparse file matter here."""
    start = records = 0
    while start < len(content):
        space = content.find(b" ", start, start + 8)
        length = content[start:space] if space > start else b""
        end = start + int(length) if length.isdigit() else 0
        equals = content.find(b"=", space, end)
        if equals <= space + 1 or end > len(content) or content[end - 1] != _LINE_FEED:
            raise InvalidContent("archive/tar: invalid tar header")
        key = content[space + 1 : equals]
        if key in _ATTRIBUTES:
            extension.attributes = {**(extension.attributes or {}), key: content[equals + 1 : end - 1]}
        if key in _KEYS or key.startswith(_SPARSE):
            _apply_record(key, content[equals + 1 : end - 1], extension)
        start, records = end, records + 1
    return records


def _apply_record(key: bytes, value: bytes, extension: _Extension) -> None:
    if key.startswith(_SPARSE):
        extension.sparse = True
    if key in (b"path", b"linkpath") and b"\0" in value:
        raise InvalidContent("archive/tar: invalid tar header")
    if key == b"path":
        extension.name = _text(value) or None
    elif key == b"linkpath":
        extension.link = _text(value) or None
    elif key == b"size" and value:
        if not value.isdigit() or len(value) > 19 or int(value) > _MAX_SIZE:
            raise InvalidContent("archive/tar: invalid tar header")
        extension.size = int(value)
