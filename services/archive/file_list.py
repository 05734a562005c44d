"""What is in a layer, as columns, and the bytes in which such a list is kept.

    kept    := zstd( length-of-head[4] head column* )
    head    := JSON: version, problem, whether it is cut, the limit that applied, bytes of each column
    column  := paths and links: UTF-8 separated by NUL; kinds: a letter each; the others: 64-bit integers, little-endian

Bytes of names that are not UTF-8 are surrogates in text (PEP 383), as everywhere else.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import orjson

from stowage.services.errors import InvalidContent

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_VERSION = 1
_LENGTH_BYTES = 4
_LEVEL = 3
_NUMBERS = ("sizes", "checksums", "modes", "uids", "gids", "times")
ENTRY_BYTES = 200
"""Memory for an entry, its path and link apart, roughly."""


class EntryKind(StrEnum):
    """What an entry of a layer is. A whiteout removes the path of a lower layer, an opaque mark what lower layers have in the directory."""

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
        return len(self) * ENTRY_BYTES + sum(map(len, self.paths)) + sum(map(len, self.links))

    def dump(self) -> bytes:
        """The list as it is kept."""
        columns = [_join(self.paths), "".join(map(_LETTERS.__getitem__, self.kinds)).encode(), _join(self.links)]
        columns += [_little(getattr(self, name)).tobytes() for name in _NUMBERS]
        head = orjson.dumps(
            {
                "version": _VERSION,
                "entries": len(self),
                "problem": self.problem,
                "cut": self.is_cut,
                "tar": self.is_tar,
                "most": self.most,
                "columns": list(map(len, columns)),
            }
        )
        return zstd.compress(b"".join((len(head).to_bytes(_LENGTH_BYTES, "little"), head, *columns)), _LEVEL)

    @classmethod
    def parse(cls, kept: bytes) -> FileList:
        """Read what `dump` wrote; raises InvalidContent for anything else, such as a list of another version."""
        try:
            raw = zstd.decompress(kept)
            start = _LENGTH_BYTES + int.from_bytes(raw[:_LENGTH_BYTES], "little")
            head = orjson.loads(raw[_LENGTH_BYTES:start])
            if head["version"] != _VERSION:
                raise InvalidContent(f"a list of files of version {head['version']}")
            columns: list[bytes] = []
            for size in head["columns"]:
                columns.append(raw[start : start + size])
                start += size
            paths, kinds, links, *others = columns
            count = head["entries"]
            sizes, checksums, modes, uids, gids, times = map(_numbers, others)
            found = cls(
                _split(paths, count),
                [_KINDS[letter] for letter in kinds.decode()],
                sizes,
                checksums,
                modes,
                uids,
                gids,
                times,
                _split(links, count),
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


def _join(texts: list[str]) -> bytes:
    return "\0".join(texts).encode("utf-8", "surrogateescape")


def _split(column: bytes, count: int) -> list[str]:
    return column.decode("utf-8", "surrogateescape").split("\0") if count else []


def _numbers(column: bytes) -> array[int]:
    return _little(array("q", column))


def _little(numbers: array[int]) -> array[int]:
    """The same numbers, their bytes in the order of the kept form."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
