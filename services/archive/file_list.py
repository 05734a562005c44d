"""The list of files of a layer as columns, and its serialized form.

    kept    := zstd( length-of-head[4] head column* )
    head    := JSON: version, problem, whether it is cut, the limit that applied, bytes of each column
    column  := paths and links: UTF-8 separated by NUL; kinds: a letter each; the others: 64-bit integers, little-endian

Bytes of names that are not UTF-8 are surrogates in text (PEP 383), as everywhere else.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import TypeVar

import orjson

from stowage.services.archive.bounds import text_memory
from stowage.services.errors import InvalidContent

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_VERSION = 1
_LENGTH_BYTES = 4
_LEVEL = 3
_TEXTS_AT_ONCE = 256
_BYTES_AT_ONCE = 1 << 20
_NUMBERS = ("sizes", "checksums", "modes", "uids", "gids", "times")
ENTRY_BYTES = 200
"""Memory for an entry, its path and link apart, roughly."""


class EntryKind(StrEnum):
    """The kind of an entry. A whiteout removes a path of lower layers, an opaque mark everything that they have in a directory."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    DEVICE = "device"
    FIFO = "fifo"
    OTHER = "other"
    WHITEOUT = "whiteout"
    OPAQUE = "opaque"
    AUFS = "aufs"
    """What AUFS kept for itself. It is in no image, but hard links may refer to it."""

    __hash__ = str.__hash__  # that of enumerations is written in Python


_LETTERS = {
    EntryKind.FILE: "f",
    EntryKind.DIRECTORY: "d",
    EntryKind.SYMLINK: "l",
    EntryKind.HARDLINK: "h",
    EntryKind.DEVICE: "c",
    EntryKind.FIFO: "p",
    EntryKind.OTHER: "x",
    EntryKind.WHITEOUT: "w",
    EntryKind.OPAQUE: "o",
    EntryKind.AUFS: "a",
}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class FileList:
    """The entries of a layer in their order, a column for each thing that is known of them.

    A path is clean: relative, without `.` and `..`; that of the root is empty. A whiteout has the path that it removes, an opaque mark
    that of its directory. Sizes are bytes of content as stored, so a sparse file counts without its holes and a hard link counts 0; a
    checksum is the CRC-32 of that content; times are seconds since 1970. A link is the target of a symlink as written, the path of a hard
    link's target, or the numbers of a device.

    `problem` is a sentence about what is missing, empty if nothing is. If the list is `cut`, entries are missing; `most` is the number of
    entries that were allowed.
    """

    paths: list[str] = field(default_factory=list)
    kinds: list[EntryKind] = field(default_factory=list)
    sizes: array[int] = field(default_factory=lambda: array("q"))
    checksums: array[int] = field(default_factory=lambda: array("q"))
    modes: array[int] = field(default_factory=lambda: array("q"))
    uids: array[int] = field(default_factory=lambda: array("q"))
    gids: array[int] = field(default_factory=lambda: array("q"))
    times: array[int] = field(default_factory=lambda: array("q"))
    links: list[str] = field(default_factory=list)
    problem: str = ""
    is_cut: bool = False
    is_tar: bool = True
    most: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        return len(self) * ENTRY_BYTES + self.path_weight + sum(map(text_memory, self.links))

    @property
    def path_weight(self) -> int:
        """Bytes of memory that the characters of paths take."""
        return sum(map(text_memory, self.paths))

    def extend(self, other: FileList) -> None:
        """Add the entries of another list."""
        for name in ("paths", "kinds", "links", *_NUMBERS):
            getattr(self, name).extend(getattr(other, name))

    def dump(self) -> bytes:
        """The list as it is kept. Its texts are encoded twice, a few at a time, so that this takes little memory."""
        sizes = [sum(map(len, column)) for column in self._columns()]
        head = orjson.dumps(
            {
                "version": _VERSION,
                "entries": len(self),
                "problem": self.problem,
                "cut": self.is_cut,
                "tar": self.is_tar,
                "most": self.most,
                "columns": sizes,
            }
        )
        compressor = zstd.ZstdCompressor(_LEVEL)
        compressor.set_pledged_input_size(_LENGTH_BYTES + len(head) + sum(sizes))
        pieces = chain((len(head).to_bytes(_LENGTH_BYTES, "little"), head), *self._columns())
        return b"".join([*map(compressor.compress, pieces), compressor.flush()])

    def _columns(self) -> Iterator[Iterable[bytes]]:
        """The bytes of each column, in pieces."""
        yield _join(self.paths)
        yield ["".join(map(_LETTERS.__getitem__, self.kinds)).encode()]
        yield _join(self.links)
        for name in _NUMBERS:
            yield [_little(getattr(self, name)).tobytes()]

    @classmethod
    def parse(cls, kept: bytes, *, hold: Callable[[int], None] = lambda _: None) -> FileList:
        """Read what `dump` wrote; raises InvalidContent for anything else, such as a list of another version.

        `hold` is called with the bytes of memory that the list takes; raises what it raises. Meanwhile it takes `inflated_size` in
        addition.
        """
        try:
            raw = zstd.decompress(kept)
            start = _LENGTH_BYTES + int.from_bytes(raw[:_LENGTH_BYTES], "little")
            head = orjson.loads(raw[_LENGTH_BYTES:start])
            if head["version"] != _VERSION:
                raise InvalidContent(f"a list of files of version {head['version']}")
            columns: list[slice] = []
            for size in head["columns"]:
                columns.append(slice(start, start + size))
                start += size
            paths, kinds, links, *others = columns
            count = head["entries"]
            hold(count * ENTRY_BYTES)
            sizes, checksums, modes, uids, gids, times = (_numbers(raw[column]) for column in others)
            found = cls(
                _split(raw, paths, count, hold),
                [_KINDS[letter] for letter in raw[kinds].decode()],
                sizes,
                checksums,
                modes,
                uids,
                gids,
                times,
                _split(raw, links, count, hold),
                problem=head["problem"],
                is_cut=head["cut"],
                is_tar=head["tar"],
                most=head["most"],
            )
        except (zstd.ZstdError, ValueError, KeyError, TypeError) as exc:
            raise InvalidContent("not a list of files") from exc
        if start != len(raw) or {len(getattr(found, name)) for name in ("paths", "kinds", "links", *_NUMBERS)} != {count}:
            raise InvalidContent("not a list of files")
        return found


def inflated_size(kept: bytes) -> int:
    """How many bytes a kept list has before compression; 0 if it is none."""
    try:
        return zstd.get_frame_info(kept).decompressed_size or 0
    except zstd.ZstdError:
        return 0


def _join(texts: list[str]) -> Iterator[bytes]:
    """A column of texts in pieces: one long text would be as wide as its widest character."""
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        piece = "\0".join(texts[start : start + _TEXTS_AT_ONCE]).encode("utf-8", "surrogateescape")
        yield b"\0" + piece if start else piece


def _split(raw: bytes, column: slice, count: int, hold: Callable[[int], None]) -> list[str]:
    """The texts of a column, also a piece at a time."""
    texts: list[str] = []
    start = column.start if count else column.stop + 1
    while start <= column.stop:
        end = raw.find(b"\0", start + _BYTES_AT_ONCE, column.stop)
        end = end if end >= 0 else column.stop
        piece = raw[start:end].decode("utf-8", "surrogateescape").split("\0")
        hold(sum(map(text_memory, piece)))
        texts += piece
        start = end + 1
    return texts


def _numbers(column: bytes) -> array[int]:
    return _little(array("q", column))


def _little(numbers: array[int]) -> array[int]:
    """The same numbers, their bytes in the order of the kept form."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
