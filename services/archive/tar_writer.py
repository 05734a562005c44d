"""Writing tar as a stream. The same members give the same bytes: they are sorted by name and carry neither time nor owner.

Source: POSIX.1-1988 ustar; POSIX.1-2001 pax for a name of more than 100 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from stowage.services.archive.tar_reader import BLOCK, CHUNK

_NAME_BYTES = 100


@dataclass(frozen=True, slots=True)
class NewMember:
    """A member to write: its mode, size, and a function that yields its content. A folder's name ends with a slash; it has no content."""

    mode: int
    size: int = 0
    content: Callable[[], Iterable[bytes]] = tuple


def write_tar(members: Mapping[str, NewMember]) -> Iterator[bytes]:
    """The archive with these members, by name, in chunks of 1 byte to 2 MiB; a member's content is requested when it is written."""
    return _coalesce(_pieces(members))


def _pieces(members: Mapping[str, NewMember]) -> Iterator[bytes]:
    for name, member in sorted(members.items()):
        yield directory_header(name, member.mode) if name.endswith("/") else file_header(name, member.size, member.mode)
        yield from member.content()
        yield padding(member.size)
    yield END


def _coalesce(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces, so that headers and documents do not become separate writes."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) == CHUNK and not waiting:
            yield piece
            continue
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


END = bytes(2 * BLOCK)
"""The end of an archive."""


def file_header(name: str, size: int, mode: int) -> bytes:
    """The header of a regular file. Owner, group and time are zero, so that equal content makes an equal archive.

    A name of more than 100 bytes (a sha512 blob's) is written before it in a PAX member.
    """
    encoded = name.encode()
    if len(encoded) <= _NAME_BYTES:
        return _header(encoded, size, mode, b"0")
    record = _pax_record(b"path", encoded)
    return (
        _header(b"PaxHeaders.0/long", len(record), 0, b"x")
        + record
        + padding(len(record))
        + _header(encoded[:_NAME_BYTES], size, mode, b"0")
    )


def directory_header(name: str, mode: int) -> bytes:
    """The header of a folder; its name ends with a slash and has up to 100 bytes."""
    return _header(name.encode(), 0, mode, b"5")


def padding(size: int) -> bytes:
    """The zeros that follow content of this size."""
    return bytes(-size % BLOCK)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """`<length> <key>=<value>\\n`, where the length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return b"%d" % length + rest


def _header(name: bytes, size: int, mode: int, kind: bytes) -> bytes:
    size_field = b"%011o\0" % size if size < 8**11 else (size | 1 << 95).to_bytes(12, "big")
    fields = (
        name.ljust(_NAME_BYTES, b"\0"), b"%07o\0" % mode, b"0000000\0", b"0000000\0", size_field, b"00000000000\0", b" " * 8, kind,
        bytes(100), b"ustar\x0000", bytes(64), b"0000000\0", b"0000000\0", bytes(167),
    )  # fmt: skip
    header = b"".join(fields)
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]
