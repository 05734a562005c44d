"""Files as columns: a tree, or what differs between two, in the order of a walk: a directory, then what is in it, by name.

So a directory is a range of rows, and so is a page of a sorted list. A row takes about 50 bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from stowage.services.archive.bounds import text_memory
from stowage.services.archive.file_list import EntryKind

NO_CONTENT = -1
NOT_STATED = -1
"""The layer, or the mode, of a path that no layer states."""
SEPARATOR = "\0"
"""Between the names of a path while paths are sorted: text then sorts in the order of a walk, since no name has this character."""
_LINK_BYTES = 200
_ROW_BYTES = 130
"""Memory for a row while a table is made, its name apart, roughly."""
_AT_ONCE = 1024
_KINDS = tuple(EntryKind)
_KIND_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_DIRECTORY = _KIND_NUMBERS[EntryKind.DIRECTORY]
_FACTS = ("parents", "kinds", "layers", "modes", "uids", "gids", "times", "checksums")
_COLUMNS = (*_FACTS, "after", "before", "files", "changes", "listed", "whole")
_ROOT = {"kinds": _DIRECTORY, "layers": NOT_STATED, "modes": NOT_STATED, "checksums": NO_CONTENT}


class Change(StrEnum):
    """The difference of a path. `attributes` is only its mode or its owner; `same` is stored again as it was."""

    ADDED = "added"
    CHANGED = "changed"
    ATTRIBUTES = "attributes"
    SAME = "same"
    REMOVED = "removed"

    __hash__ = str.__hash__  # that of enumerations is written in Python


_CHANGES: tuple[Change | None, ...] = (None, *Change)
_CHANGE_NUMBERS = {change: number for number, change in enumerate(_CHANGES)}
_MIXED = 255
_ALIKE = tuple(map(_CHANGE_NUMBERS.__getitem__, (Change.ATTRIBUTES, Change.SAME)))


class Facts(NamedTuple):
    """The facts of a path in a layer, with that layer's number. `size` and `checksum` are those of its content, which hard links share;
    what has none has NO_CONTENT as its checksum.
    """

    kind: EntryKind
    layer: int
    mode: int
    uid: int
    gid: int
    modified: int
    link: str
    size: int
    checksum: int


UNSTATED = Facts(EntryKind.DIRECTORY, NOT_STATED, NOT_STATED, 0, 0, 0, "", 0, NO_CONTENT)
"""What is known of a directory that no layer states."""


class Row(NamedTuple):
    """A path with its bytes, and those before a change. A row is `listed` if it is in a list of all files; a directory that is `whole`
    counts as one with all that is in it.
    """

    path: str
    facts: Facts
    after: int = 0
    before: int = 0
    files: int = 0
    change: Change | None = None
    is_listed: bool = True
    is_whole: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class FileTable:
    """A column for each thing that is known of paths; the first row is the root.

    `after` has the bytes of files, `before` those before a change. These and `files` are sums for a directory. `ends` has the row after the
    last one that is in a directory. Of several hard links to one content, `shared` has the row of the first one, which counts the bytes.
    """

    names: bytes
    starts: array[int]
    ends: array[int]
    links: dict[int, str]
    shared: dict[int, int]
    parents: array[int]
    kinds: array[int]
    layers: array[int]
    modes: array[int]
    uids: array[int]
    gids: array[int]
    times: array[int]
    checksums: array[int]
    after: array[int]
    before: array[int]
    files: array[int]
    changes: array[int]
    listed: array[int]
    whole: array[int]

    def __len__(self) -> int:
        return len(self.parents)

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        columns = (getattr(self, name) for name in self.__slots__)
        links = sum(_LINK_BYTES + text_memory(link) for link in self.links.values()) + len(self.shared) * _LINK_BYTES
        return len(self.names) + links + sum(len(column) * column.itemsize for column in columns if isinstance(column, array))

    def name(self, row: int) -> str:
        """The last name of a path."""
        return self.names[self.starts[row] : self.starts[row + 1]].decode("utf-8", "surrogateescape")

    def path(self, row: int) -> str:
        """The path from the root, which is empty itself."""
        return "/".join(self._way(row))

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
        numbers = self.layers[row], self.modes[row], self.uids[row], self.gids[row], self.times[row]
        checksum = self.checksums[row]
        size = 0 if checksum == NO_CONTENT else self.after[self.shared.get(row, row)]
        return Facts(_KINDS[self.kinds[row]], *numbers, self.links.get(row, ""), size, checksum)

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
        wanted = path.split("/") if path else []
        row = bisect_left(range(len(self)), wanted, key=self._way)
        return row if row < len(self) and self._way(row) == wanted else None

    def walk(self, row: int = 0, separator: str = "/") -> Iterator[tuple[int, str]]:
        """Every row below a directory, or that of something else, with its path."""
        above = separator.join(self._way(row)[:-1])
        names, starts, ends = self.names, self.starts, self.ends  # this is gone through for every search
        ways: list[tuple[int, str]] = []
        end, prefix = ends[row], f"{above}{separator}" if above else ""
        for each in range(row or 1, end):
            while each >= end:
                end, prefix = ways.pop()
            path = prefix + names[starts[each] : starts[each + 1]].decode("utf-8", "surrogateescape")
            yield each, path
            if ends[each] > each + 1:
                ways.append((end, prefix))
                end, prefix = ends[each], path + separator

    def _way(self, row: int) -> list[str]:
        """The names of a path."""
        parts: list[str] = []
        while row:
            parts.append(self.name(row))
            row = self.parents[row]
        return parts[::-1]


def make_table(rows: Iterable[Row], hold: Callable[[int], None] = lambda _: None, shared: dict[int, int] | None = None) -> FileTable:
    """A table of paths, with SEPARATOR between names, in their order; directories that lead to one come before it.

    `hold` is called with bytes of memory that are about to be used. `shared` may be filled while the rows are made.
    """
    names, starts, links = bytearray(), array("q", [0, 0]), dict[int, str]()
    columns = {name: array("q", [_ROOT.get(name, 0)]) for name in _COLUMNS}
    way, waiting = [("", 0)], iter(rows)
    while some := list(islice(waiting, _AT_ONCE)):
        hold(len(some) * _ROW_BYTES)
        written: list[tuple[int, ...]] = []
        for path, (kind, layer, mode, uid, gid, modified, link, _, checksum), after, before, files, change, is_listed, is_whole in some:
            while not path.startswith(way[-1][0]):
                way.pop()
            prefix, parent = way[-1]
            way.append((path + SEPARATOR, len(starts) - 1))
            if link:
                hold(_LINK_BYTES)
                links[len(starts) - 1] = link
            names += path[len(prefix) :].encode("utf-8", "surrogateescape")
            starts.append(len(names))
            number, changed = _KIND_NUMBERS[kind], _CHANGE_NUMBERS[change]
            facts = parent, number, layer, mode, uid, gid, modified, checksum
            written.append((*facts, after, before, files, changed, is_listed, is_whole))
        for column, values in zip(columns.values(), zip(*written, strict=True), strict=True):
            column.extend(values)
    ends = _sum_up(columns)
    if any(columns["changes"]):
        _name_what_is_alike(columns)
    narrowed = {name: _narrow(column) for name, column in columns.items()}
    return FileTable(bytes(names), _narrow(starts), _narrow(ends), links, {} if shared is None else shared, **narrowed)


def _sum_up(columns: dict[str, array[int]]) -> array[int]:
    """Add what is in directories to them; returns where they end."""
    parents, after, before, files = (columns[name] for name in ("parents", "after", "before", "files"))
    ends = array("q", range(1, len(parents) + 1))
    for row in range(len(parents) - 1, 0, -1):
        parent = parents[row]
        after[parent] += after[row]
        before[parent] += before[row]
        files[parent] += files[row]
        if ends[row] > ends[parent]:
            ends[parent] = ends[row]
    return ends


def _name_what_is_alike(columns: dict[str, array[int]]) -> None:
    """Give directories the change of all that is in them, if that is the same and leaves no question about the directory itself."""
    parents, changes, listed = (columns[name] for name in ("parents", "changes", "listed"))
    alike = bytearray(len(parents))
    for row in range(len(parents) - 1, 0, -1):
        if not listed[row] and not changes[row] and alike[row] in _ALIKE:
            changes[row] = alike[row]
        parent = parents[row]
        for change in (changes[row] if listed[row] else 0, alike[row]):
            if change:
                alike[parent] = change if alike[parent] in (0, change) else _MIXED


def _narrow(column: array[int]) -> array[int]:
    """The same numbers in as few bytes each as all of them fit into."""
    for code in "bhiI":
        try:
            return array(code, column)
        except OverflowError:
            continue
    return column
