"""The files of an image, layer by layer: what each layer did, and how many bytes lie in files that nobody sees any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import takewhile

from stowage.services.archive.file_list import EntryKind, FileList
from stowage.services.images.file_changes import layer_changes, layer_rows
from stowage.services.images.file_table import NO_CONTENT, Change, FileTable
from stowage.services.images.file_table_maker import UNSTATED, Row, TableMaker
from stowage.services.images.file_tree import FileTree

_LAYER_BYTES = 3000
"""Memory for what is known of a layer, its entries apart, roughly."""
_NOTHING = UNSTATED._replace(kind=EntryKind.FILE)


@dataclass(frozen=True, slots=True)
class Sum:
    """How many files, and their bytes."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class LayerEffect:
    """What a layer did to the files below it. `content` is all that it stores, `wasted` what of that no path leads to any more.

    Of a path that it changed, or stored again as it was, the new bytes count; of one that it removed, the old ones, if no other hard link
    has them. So what it added, changed and stored again is its content, but for paths that are in it twice.
    """

    entries: int
    content: Sum
    wasted: Sum
    changes: dict[Change, Sum]
    problem: str


@dataclass(frozen=True, slots=True)
class LayeredFiles:
    """The tree of some layers. `wasted` has the paths whose content was stored for nothing, its `files` how many times; a path is `removed`
    if there is nothing now. It is complete if every layer was read, so that the next look finds the same.
    """

    table: FileTable
    effects: tuple[LayerEffect, ...]
    wasted: FileTable
    is_complete: bool

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        return self.table.weight + self.wasted.weight + len(self.effects) * _LAYER_BYTES


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What differs between two sides; it is complete if every layer was read."""

    table: FileTable
    is_complete: bool

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        return self.table.weight


@dataclass(slots=True)
class _Sums:
    """Sums by key that grow."""

    files: Counter[object] = field(default_factory=Counter)
    bytes: Counter[object] = field(default_factory=Counter)

    def add(self, key: object, size: int) -> None:
        self.files[key] += 1
        self.bytes[key] += size

    def sum(self, key: object) -> Sum:
        return Sum(self.files[key], self.bytes[key])


def layer_files(
    lists: Iterable[FileList], *, most: int, hold: Callable[[int], None] = lambda _: None, check: Callable[[], None] = lambda: None
) -> LayeredFiles:
    """Put layers on top of each other; raises as FileTree does, and what `hold`, which reserves memory, and `check` raise."""
    tree = FileTree(most, hold, check)
    changes, entries = list[_Sums](), list[int]()
    for listed in lists:
        hold(_LAYER_BYTES)
        tree.add(listed)
        changes.append(_sum_changes(tree))
        entries.append(len(listed))
    stored, gone, wasted = _Sums(), _Sums(), _Sums()
    for (layer, entry), size, uses in zip(tree.origins, tree.contents.sizes, tree.contents.uses, strict=True):
        stored.add(layer, size)
        if not uses:
            gone.add(layer, size)
            if size:
                wasted.add(tree.lists[layer].paths[entry], size)
    effects = tuple(
        LayerEffect(
            entries[layer],
            stored.sum(layer),
            gone.sum(layer),
            {change: changes[layer].sum(change) for change in Change},
            tree.lists[layer].problem,
        )
        for layer in range(len(entries))
    )
    return LayeredFiles(_tree_table(tree, hold), effects, _wasted_table(tree, wasted, hold), all(listed.most for listed in tree.lists))


def last_changes(
    lists: Iterable[FileList], *, most: int, hold: Callable[[int], None] = lambda _: None, check: Callable[[], None] = lambda: None
) -> FileChanges:
    """What the last layer did to those below it; raises as `layer_files` does."""
    tree = FileTree(most, hold, check)
    for listed in lists:
        tree.add(listed)
    maker = TableMaker(hold)
    for row in layer_rows(tree):
        maker.add(row)
        tree.step()
    return FileChanges(maker.finish(), all(listed.most for listed in tree.lists))


def _tree_table(tree: FileTree, hold: Callable[[int], None]) -> FileTable:
    """The whole tree; content that hard links share is that of the first path."""
    maker, seen = TableMaker(hold), {NO_CONTENT}
    for depth, name, node in tree.walk():
        size = 0 if node.content in seen else tree.contents.sizes[node.content]
        seen.add(node.content)
        is_file = node.children is None
        maker.add(Row(depth, name, tree.facts(node), size, files=int(is_file), is_listed=is_file))
        tree.step()
    return maker.finish(tree.contents)


def _wasted_table(tree: FileTree, wasted: _Sums, hold: Callable[[int], None]) -> FileTable:
    maker = TableMaker(hold)
    way: list[str] = []
    for path in sorted(map(str, wasted.bytes), key=lambda path: path.replace("/", "\0")):
        tree.step(path)
        parts = path.split("/")
        known = len(list(takewhile(lambda names: names[0] == names[1], zip(way, parts, strict=False))))
        for depth in range(known, len(parts) - 1):
            maker.add(Row(depth + 1, parts[depth], UNSTATED, 0, is_listed=False, is_optional=True))
        change = None if tree.find(path) else Change.REMOVED
        maker.add(Row(len(parts), parts[-1], _NOTHING, wasted.bytes[path], change=change, files=wasted.files[path]))
        way = parts
    return maker.finish()


def _sum_changes(tree: FileTree) -> _Sums:
    sums = _Sums()
    for _, change, before, after in layer_changes(tree):
        if change:
            sums.add(change, before if change is Change.REMOVED else after)
        tree.step()
    return sums
