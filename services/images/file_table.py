"""Files as columns: a tree, or what differs between two, in a fraction of the memory that nodes take.

    rows := the root, then every path below it in the order of a walk: a directory, then what is in it, by name

So a directory is a range of rows, and so is the whole page of a sorted list.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from stowage.services.archive.bounds import text_memory
from stowage.services.archive.file_list import EntryKind

NO_CONTENT = -1
NOT_STATED = -1
"""The layer, or the mode, of a path that no layer states."""
LINK_BYTES = 200
_KINDS = tuple(EntryKind)
KIND_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_DIRECTORY = KIND_NUMBERS[EntryKind.DIRECTORY]


class Change(StrEnum):
    """How a path differs. `attributes` is only its mode or its owner; `same` is stored again as it was."""

    ADDED = "added"
    CHANGED = "changed"
    ATTRIBUTES = "attributes"
    SAME = "same"
    REMOVED = "removed"

    __hash__ = str.__hash__  # that of enumerations is written in Python


_CHANGES: tuple[Change | None, ...] = (None, *Change)
CHANGE_NUMBERS = {change: number for number, change in enumerate(_CHANGES)}


class Facts(NamedTuple):
    """What is known of a path: the number of the layer that states it, and of the content that hard links share."""

    kind: EntryKind
    layer: int
    mode: int
    uid: int
    gid: int
    modified: int
    link: str
    content: int


@dataclass(frozen=True, slots=True)
class Contents:
    """By the number of a content: its bytes, its checksum, and how many paths lead to it."""

    sizes: array[int] = field(default_factory=lambda: array("q"))
    checksums: array[int] = field(default_factory=lambda: array("q"))
    uses: array[int] = field(default_factory=lambda: array("q"))

    def substance(self, content: int) -> tuple[int, int]:
        """Equal for equal contents."""
        return self.sizes[content], self.checksums[content]

    def narrow(self) -> Contents:
        """The same in less memory."""
        return Contents(narrow(self.sizes), narrow(self.checksums), narrow(self.uses))


@dataclass(frozen=True, slots=True, eq=False)
class FileTable:
    """A column for each thing that is known of paths.

    `after` has the bytes of files, `before` those before a change. These and `files` are sums for a directory. `ends` has the row after the
    last one that is in a directory, and `numbers` those of contents.
    """

    names: bytes
    starts: array[int]
    parents: array[int]
    ends: array[int]
    kinds: array[int]
    layers: array[int]
    modes: array[int]
    uids: array[int]
    gids: array[int]
    times: array[int]
    numbers: array[int]
    links: dict[int, str]
    after: array[int]
    before: array[int]
    files: array[int]
    changes: array[int]
    listed: array[int]
    whole: array[int]
    contents: Contents

    def __len__(self) -> int:
        return len(self.parents)

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        columns = (self.starts, self.parents, self.ends, self.layers, self.modes, self.uids, self.gids, self.times, self.numbers)
        sums = (self.after, self.before, self.files, self.contents.sizes, self.contents.checksums, self.contents.uses)
        links = sum(LINK_BYTES + text_memory(link) for link in self.links.values())
        return len(self.names) + 4 * len(self) + links + sum(len(column) * column.itemsize for column in columns + sums)

    def name(self, row: int) -> str:
        """The last name of a path."""
        return self.names[self.starts[row] : self.starts[row + 1]].decode("utf-8", "surrogateescape")

    def path(self, row: int) -> str:
        """The path from the root, which is empty itself."""
        parts: list[str] = []
        while row:
            parts.append(self.name(row))
            row = self.parents[row]
        return "/".join(reversed(parts))

    def kind(self, row: int) -> EntryKind:
        """What is at a path."""
        return _KINDS[self.kinds[row]]

    def is_directory(self, row: int) -> bool:
        """Whether a row is that of a directory."""
        return self.kinds[row] == _DIRECTORY

    def change(self, row: int) -> Change | None:
        """How a path differs, if it does; of a directory that is not listed, how all in it differ, if that is all that can be said."""
        return _CHANGES[self.changes[row]]

    def facts(self, row: int) -> Facts:
        """What is known of a path."""
        return Facts(
            _KINDS[self.kinds[row]],
            self.layers[row],
            self.modes[row],
            self.uids[row],
            self.gids[row],
            self.times[row],
            self.links.get(row, ""),
            self.numbers[row],
        )

    def children(self, row: int) -> Iterator[int]:
        """The rows of what is directly in a directory, by name."""
        below, end = row + 1, self.ends[row]
        while below < end:
            yield below
            below = self.ends[below]

    def own(self, column: array[int], row: int) -> int:
        """A sum without what is in the directory: of a file that became one, for example."""
        return column[row] - sum(column[below] for below in self.children(row))

    def find(self, path: str) -> int | None:
        """The row of a clean path."""
        row = 0
        for part in path.split("/") if path else ():
            wanted = part.encode("utf-8", "surrogateescape")
            found = next((each for each in self.children(row) if self._name(each) == wanted), None)
            if found is None:
                return None
            row = found
        return row

    def walk(self, row: int = 0) -> Iterator[tuple[int, str]]:
        """Every row below a directory, or that of something else, with its path."""
        above, _, _ = self.path(row).rpartition("/")
        names, starts, ends = self.names, self.starts, self.ends  # this is gone through for every search
        ways: list[tuple[int, str]] = []
        end, prefix = ends[row], f"{above}/" if above else ""
        for each in range(row or 1, end):
            while each >= end:
                end, prefix = ways.pop()
            path = prefix + names[starts[each] : starts[each + 1]].decode("utf-8", "surrogateescape")
            yield each, path
            if ends[each] > each + 1:
                ways.append((end, prefix))
                end, prefix = ends[each], path + "/"

    def _name(self, row: int) -> bytes:
        return self.names[self.starts[row] : self.starts[row + 1]]


def narrow(column: array[int]) -> array[int]:
    """The same numbers in as few bytes each as all of them fit into."""
    for code in "bhiI":
        try:
            return array(code, column)
        except OverflowError:
            continue
    return column
