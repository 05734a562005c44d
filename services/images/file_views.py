"""What is shown of files: the items below a directory, with sums, or all files flat; searched, sorted and cut into pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import nlargest, nsmallest
from typing import NamedTuple

from stowage.services.archive.file_list import EntryKind
from stowage.services.errors import InvalidParameter
from stowage.services.images.file_changes import Change, ChangedFile
from stowage.services.images.file_nodes import IMPLIED, Node
from stowage.services.images.file_tree import FileTree
from stowage.services.images.layered_files import WastedPath


class Row(NamedTuple):
    """An item before it is described; `before` are the bytes before a change, and `files` those in a directory."""

    path: str
    bytes: int
    before: int
    files: int
    change: Change | None
    node: Node | None

    @property
    def size(self) -> int:
        """What the item takes, or took if it takes nothing now."""
        return self.bytes or self.before

    @property
    def growth(self) -> int:
        return self.bytes - self.before


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
    """How to list: the directory, whether all files below it, what their paths contain, the order, and the page."""

    path: str = ""
    flat: bool = False
    search: str = ""
    sort: str = ""
    offset: int = 0
    limit: int = 100

    def __post_init__(self) -> None:
        if self.sort.removeprefix("-") not in ("", "name", *_ORDERS):
            raise InvalidParameter(f"sort must be one of name, {', '.join(_ORDERS)}, with - in front for the largest first")


def _path(row: Row) -> str:
    return row.path


_ORDERS: dict[str, Callable[[Row], int]] = {
    "size": lambda row: row.size,
    "growth": lambda row: abs(row.growth),
    "files": lambda row: row.files,
    "layer": lambda row: row.node.layer if row.node else -1,
}


def page_of(rows: Iterable[Row], listing: Listing, sort: str) -> tuple[int, list[Row]]:
    """How many rows contain the text, and those of the page, in the order that is asked for or else in this one, then by name.

    Only the rows up to the end of the page are kept.
    """
    wanted = listing.search.casefold()
    total = 0

    def found() -> Iterator[Row]:
        nonlocal total
        for row in rows:
            if not wanted or wanted in row.path.casefold():
                total += 1
                yield row

    chosen, end = listing.sort or sort, listing.offset + listing.limit
    if chosen == "-name":
        page = nlargest(end, found(), key=_path)
    elif chosen == "name":
        page = nsmallest(end, found(), key=_path)
    else:
        value, sign = _ORDERS[chosen.removeprefix("-")], -1 if chosen.startswith("-") else 1
        page = nsmallest(end, found(), key=lambda row: (sign * value(row), row.path))
    return total, page[listing.offset :]


def tree_rows(tree: FileTree, listing: Listing) -> Iterator[Row]:
    """The files of a tree below a directory, or what is directly in it; of a file that itself, as `ls` lists it."""
    if listing.flat or listing.search:
        for path, node in tree.walk(listing.path):
            if node.children is None:
                yield Row(path, node.bytes, 0, 1, None, node)
        return
    found = tree.find(listing.path)
    if found and found.children is None:
        yield Row(listing.path, found.bytes, 0, 1, None, found)
        return
    prefix = f"{listing.path}/" if listing.path else ""
    for name, node in ((found and found.children) or {}).items():
        yield Row(prefix + name, node.bytes, 0, node.files, None, node)


def change_rows(changes: Iterable[ChangedFile], listing: Listing) -> Iterator[Row]:
    """The changes below a directory, or their sums for what is directly in it."""
    prefix = f"{listing.path}/" if listing.path else ""
    below = (each for each in changes if each.path.startswith(prefix) or each.path == listing.path)
    if listing.flat or listing.search:
        yield from (Row(each.path, each.after, each.before, 1, each.change, each.node) for each in below)
        return
    sums: dict[str, Row] = {}
    for each in below:
        path = each.path if each.path == listing.path else prefix + each.path[len(prefix) :].partition("/")[0]
        known = sums.get(path)
        own = path == each.path
        files = 1 if each.node.children is None else 0
        is_one_sided = f"{path}/".startswith(f"{each.top}/")
        change = each.change if own or is_one_sided else None
        if known is None:
            sums[path] = Row(path, each.after, each.before, files, change, each.node if own else None)
        else:
            node = each.node if own else known.node
            same = change if change is known.change else None
            sums[path] = Row(path, known.bytes + each.after, known.before + each.before, known.files + files, same, node)
    yield from sums.values()


def wasted_rows(wasted: Iterable[WastedPath], listing: Listing) -> Iterator[Row]:
    """The paths below a directory whose content is stored for nothing; `files` is how many times."""
    prefix = f"{listing.path}/" if listing.path else ""
    for each in wasted:
        if each.path.startswith(prefix) or each.path == listing.path:
            yield Row(each.path, each.bytes, 0, each.copies, None if each.remains else Change.REMOVED, None)


def describe(row: Row, tree: FileTree, *, is_folder: bool = False) -> FileItem:
    """An item as it is shown; a row without a node is that of a directory, or of a path that is nothing now."""
    node = row.node
    if node is None:
        kind = EntryKind.DIRECTORY if is_folder else EntryKind.FILE
        return FileItem(row.path, kind, row.bytes, row.before, row.files, row.change, None, None, None, None, None, "")
    if node.entry == IMPLIED:
        return FileItem(row.path, node.kind, row.bytes, row.before, row.files, row.change, node.layer, None, None, None, None, "")
    listed, entry = tree.lists[node.layer], node.entry
    return FileItem(
        row.path,
        node.kind,
        row.bytes,
        row.before,
        row.files,
        row.change,
        node.layer,
        listed.modes[entry],
        listed.uids[entry],
        listed.gids[entry],
        listed.times[entry],
        listed.links[entry],
    )
