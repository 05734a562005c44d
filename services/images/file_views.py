"""Views of files: the items below a directory, with sums, or all files flat; searched, sorted and cut into pages.

Paths are shown from the root, and with escapes for bytes that are not UTF-8: in a path with such bytes they are `\\xNN`, and a backslash is
two. Other paths are shown as they are.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from itertools import compress

from stowage.services.archive.file_list import EntryKind
from stowage.services.archive.layer_files import clean_path
from stowage.services.errors import InvalidParameter
from stowage.services.images.file_table import NOT_STATED, Change, FileTable

_STRANGE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(\\|x[0-9a-f]{2})")


def show_name(name: str) -> str:
    """A name, or a link, as text."""
    if name.isascii() or not _STRANGE.search(name):
        return name
    return _STRANGE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", name.replace("\\", "\\\\"))


def show_path(path: str) -> str:
    """A clean path as text."""
    return "/" + show_name(path)


def _unescape(found: re.Match[str]) -> str:
    return "\\" if found[1] == "\\" else bytes([int(found[1][1:], 16)]).decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class FileItem:
    """A file or a directory as it is shown; of a directory `bytes` and `files` are those of all in it.

    The attributes are None if no layer states them. `layer` is the number of the layer that states them. `before` are the bytes before a
    change; a directory of changes has one itself only if it is on one side.
    """

    path: str
    kind: EntryKind
    bytes: int
    before: int
    files: int
    change: Change | None
    layer: int | None
    mode: int | None
    uid: int | None
    gid: int | None
    modified: int | None
    link: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Options of a list: the directory, whether it shows all files below it, a text in their paths, the order, and the page."""

    path: str = ""
    flat: bool = False
    search: str = ""
    sort: str = ""
    offset: int = 0
    limit: int = 100

    def __post_init__(self) -> None:
        if self.sort.removeprefix("-") not in ("", "name", *_ORDERS):
            raise InvalidParameter(f"sort must be one of name, {', '.join(_ORDERS)}, with - in front for the largest first")

    def locate(self, *tables: FileTable) -> Listing:
        """The same with a clean path: of those that its text may mean, with its escapes or without, one that is in a table if there is."""
        paths = [clean_path(self.path)]
        if "\\x" in self.path:
            paths.append(clean_path(_ESCAPED.sub(_unescape, self.path)))
        return replace(self, path=next((path for path in paths if any(table.find(path) is not None for table in tables)), paths[0]))


_ORDERS: dict[str, Callable[[FileTable, int], int]] = {
    "size": lambda table, row: table.after[row] or table.before[row],
    "growth": lambda table, row: abs(table.after[row] - table.before[row]),
    "files": lambda table, row: table.files[row],
    "layer": lambda table, row: table.layers[row],
}
"""What rows are sorted by; the size of what takes nothing now is what it took."""


def list_rows(table: FileTable, listing: Listing, order: str) -> tuple[int, list[FileItem]]:
    """How many rows there are, and those of the page, in the order that is asked for or else in this one, then by name."""
    rows = array("q", _select(table, listing))
    page = sort_rows(table, rows, listing.sort or order, listing.offset + listing.limit)[listing.offset :]
    return len(rows), [describe(table, row) for row in page]


def sort_rows(table: FileTable, rows: Sequence[int], order: str, count: int) -> list[int]:
    """The first rows in this order, of rows that are in the order of names."""
    if order == "name":
        return list(rows[:count])
    if order == "-name":
        return list(reversed(rows))[:count]
    value, sign = _ORDERS[order.removeprefix("-")], -1 if order.startswith("-") else 1
    return nsmallest(count, rows, key=lambda row: sign * value(table, row))


def _select(table: FileTable, listing: Listing) -> Iterator[int]:
    """The rows of what is in a directory, with it if it is listed itself, or of all that is listed below it; of a file it alone."""
    at = table.find(listing.path)
    if at is None:
        return
    if listing.search:
        wanted, listed = listing.search.casefold(), table.listed
        yield from (row for row, path in table.walk(at) if listed[row] and wanted in path.casefold())
    elif listing.flat:
        end = table.ends[at]
        yield from compress(range(at, end), table.listed[at:end])
    else:
        if table.listed[at]:
            yield at
        yield from table.children(at)


def describe(table: FileTable, row: int) -> FileItem:
    """An item as it is shown."""
    facts = table.facts(row)
    is_stated = facts.mode != NOT_STATED
    return FileItem(
        table.path(row),
        facts.kind,
        table.after[row],
        table.before[row],
        table.files[row],
        table.change(row),
        None if facts.layer == NOT_STATED else facts.layer,
        facts.mode if is_stated else None,
        facts.uid if is_stated else None,
        facts.gid if is_stated else None,
        facts.modified if is_stated else None,
        facts.link,
    )
