"""Makes tables of files, a row at a time."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import NamedTuple

from stowage.services.archive.file_list import EntryKind
from stowage.services.images.file_table import (
    CHANGE_NUMBERS,
    KIND_NUMBERS,
    LINK_BYTES,
    NO_CONTENT,
    NOT_STATED,
    Change,
    Contents,
    Facts,
    FileTable,
    narrow,
)

_ROW_BYTES = 130
"""Memory for a row while a table is made, its name apart, roughly."""
_AT_ONCE = 4096
_COLUMNS = 14
_MIXED = 255
_ALIKE = tuple(map(CHANGE_NUMBERS.__getitem__, (Change.ATTRIBUTES, Change.SAME)))
UNSTATED = Facts(EntryKind.DIRECTORY, NOT_STATED, NOT_STATED, 0, 0, 0, "", NO_CONTENT)
"""What is known of a directory that no layer states."""


class Row(NamedTuple):
    """A path with its bytes, and those before a change. `depth` is how many names lead to it.

    A row is `listed` if it is in a list of all files. A directory that is `optional` is left out if nothing is in it, and one that is
    `whole` counts as one with all that is in it.
    """

    depth: int
    name: str
    facts: Facts
    bytes: int
    before: int = 0
    change: Change | None = None
    files: int = 0
    is_listed: bool = True
    is_optional: bool = False
    is_whole: bool = False


class TableMaker:
    """Makes a table of rows in the order of a walk. `hold` is called with bytes of memory that are about to be used."""

    def __init__(self, hold: Callable[[int], None] = lambda _: None) -> None:
        self._hold = hold
        self._names, self._starts, self._links = bytearray(), array("q", [0]), dict[int, str]()
        self._columns = [array("q") for _ in range(_COLUMNS)]
        self._last: list[tuple[int, ...]] = []
        """The last rows, which are not in the columns yet."""
        self._way: list[int | Row] = [self._write(Row(0, "", UNSTATED, 0, is_listed=False), 0)]
        """The rows that lead to the last one; at the end those that are written as soon as something in them is."""

    def add(self, row: Row) -> None:
        """Add a row; the directories around it were added before."""
        del self._way[row.depth :]
        parent = self._way[-1]
        if row.is_optional:
            self._way.append(row)
        else:
            self._way.append(self._write(row, parent if isinstance(parent, int) else self._write_way()))

    def finish(self, contents: Contents | None = None) -> FileTable:
        """The table of what was added."""
        self._flush()
        parents, kinds, changes, listed, whole, layers, modes, uids, gids, times, numbers, own, before, files = self._columns
        ends = _sum_up(parents, (own, before, files))
        if any(changes):
            _name_what_is_alike(parents, changes, listed)
        layers, modes, uids, gids, times, numbers = map(narrow, (layers, modes, uids, gids, times, numbers))
        own, before, files = map(narrow, (own, before, files))
        kinds, changes, listed, whole = map(narrow, (kinds, changes, listed, whole))
        names, starts, parents = bytes(self._names), narrow(self._starts), narrow(parents)
        facts = kinds, layers, modes, uids, gids, times, numbers
        known = (contents or Contents()).narrow()
        return FileTable(names, starts, parents, narrow(ends), *facts, self._links, own, before, files, changes, listed, whole, known)

    def _write_way(self) -> int:
        """Write the last rows of the way, which are not written; returns the number of the last."""
        start = len(self._way)
        while isinstance(self._way[start - 1], Row):
            start -= 1
        parent = self._way[start - 1]
        for depth, row in enumerate(self._way[start:], start):
            if isinstance(row, Row) and isinstance(parent, int):
                self._way[depth] = parent = self._write(row, parent)
        return parent if isinstance(parent, int) else 0

    def _write(self, row: Row, parent: int) -> int:
        number = len(self._starts) - 1
        _, name, (kind, layer, mode, uid, gid, modified, link, content), size, before, change, files, is_listed, _, is_whole = row
        self._names += name.encode("utf-8", "surrogateescape")
        self._starts.append(len(self._names))
        marks = KIND_NUMBERS[kind], CHANGE_NUMBERS[change], is_listed, is_whole
        self._last.append((parent, *marks, layer, mode, uid, gid, modified, content, size, before, files))
        if link:
            self._hold(LINK_BYTES)
            self._links[number] = link
        if len(self._last) == _AT_ONCE:
            self._flush()
        return number

    def _flush(self) -> None:
        self._hold(len(self._last) * _ROW_BYTES)
        for column, values in zip(self._columns, zip(*self._last, strict=True), strict=bool(self._last)):
            column.extend(values)
        self._last.clear()


def _sum_up(parents: array[int], sums: tuple[array[int], ...]) -> array[int]:
    """Add what is in directories to them; returns where they end."""
    ends = array("q", range(1, len(parents) + 1))
    own, before, files = sums
    for row in range(len(parents) - 1, 0, -1):
        parent = parents[row]
        own[parent] += own[row]
        before[parent] += before[row]
        files[parent] += files[row]
        if ends[row] > ends[parent]:
            ends[parent] = ends[row]
    return ends


def _name_what_is_alike(parents: array[int], changes: array[int], listed: array[int]) -> None:
    """Give directories the change of all that is in them, if that is the same and leaves no question about the directory itself."""
    alike = bytearray(len(parents))
    for row in range(len(parents) - 1, 0, -1):
        if not listed[row] and not changes[row] and alike[row] in _ALIKE:
            changes[row] = alike[row]
        parent = parents[row]
        for change in (changes[row] if listed[row] else 0, alike[row]):
            if change:
                alike[parent] = change if alike[parent] in (0, change) else _MIXED
