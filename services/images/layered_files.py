"""The files of an image, layer by layer: what each layer did, and how many bytes lie in files that nobody sees any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from stowage.services.archive.bounds import text_memory
from stowage.services.archive.file_list import EntryKind, FileList
from stowage.services.images.file_changes import row_of
from stowage.services.images.file_table import NO_CONTENT, SEPARATOR, UNSTATED, Change, FileTable, Row, make_table
from stowage.services.images.file_tree import FileTree

_LAYER_BYTES = 3000
"""Memory for what is known of a layer, its entries apart, roughly."""
_FOLDER_BYTES = 130
"""Memory for the path of a directory, its text apart, roughly."""
_NOTHING = UNSTATED._replace(kind=EntryKind.FILE)


@dataclass(frozen=True, slots=True)
class Sum:
    """A number of files, and their bytes."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class LayerEffect:
    """The changes of a layer to the files below it. `content` is all that it stores, `wasted` what of that no path leads to any more.

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


@dataclass(slots=True)
class Sums:
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
    found: list[tuple[FileList, Sums]] = []
    for listed in lists:
        hold(_LAYER_BYTES)
        tree.add(listed)
        sums = Sums()
        for _, change, before, after in tree.changes():
            if change:
                sums.add(change, before if change is Change.REMOVED else after)
        found.append((listed, sums))
    stored, gone, wasted = Sums(), Sums(), Sums()
    for entry, (content, layer, size) in enumerate(zip(tree.contents, tree.layers, tree.entries.sizes, strict=True)):
        if content != entry:
            continue
        stored.add(layer, size)
        if not tree.uses[entry]:
            gone.add(layer, size)
            if size:
                wasted.add(tree.entries.paths[entry], size)
    effects = tuple(
        LayerEffect(len(listed), stored.sum(layer), gone.sum(layer), {change: sums.sum(change) for change in Change}, listed.problem)
        for layer, (listed, sums) in enumerate(found)
    )
    is_complete = all(listed.most for listed, _ in found)
    return LayeredFiles(_tree_table(tree, hold), effects, make_table(_wasted_rows(tree, wasted, hold), hold), is_complete)


def last_changes(
    lists: Iterable[FileList], *, most: int, hold: Callable[[int], None] = lambda _: None, check: Callable[[], None] = lambda: None
) -> FileTable:
    """What the last layer did to those below it; raises as `layer_files` does."""
    tree = FileTree(most, hold, check)
    for listed in lists:
        tree.add(listed)
    return make_table(_changed_rows(tree, hold), hold)


def _tree_table(tree: FileTree, hold: Callable[[int], None]) -> FileTable:
    """The whole tree; content that hard links share is that of the first path."""
    shared, first = dict[int, int](), dict[int, int]()

    def rows() -> Iterator[Row]:
        for number, path in enumerate(sorted(tree.nodes), 1):
            facts, content = tree.facts(tree.nodes[path]), tree.content(tree.nodes[path])
            is_file = facts.kind is not EntryKind.DIRECTORY
            if content != NO_CONTENT and tree.uses[content] > 1:
                shared[number] = first.setdefault(content, number)
            size = facts.size if shared.get(number, number) == number else 0
            yield Row(path, facts, size, files=int(is_file), is_listed=is_file)
            tree.step()

    return make_table(rows(), hold, shared)


def _changed_rows(tree: FileTree, hold: Callable[[int], None]) -> Iterator[Row]:
    changes = {each.path: each for each in tree.changes() if each.change}
    for path in _with_folders(changes, hold):
        _, change, before, after = changes.get(path, (path, None, 0, 0))
        yield row_of(path, *tree.sides(path), change, before, after)


def _wasted_rows(tree: FileTree, wasted: Sums, hold: Callable[[int], None]) -> Iterator[Row]:
    for path in _with_folders(map(str, wasted.bytes), hold):
        if path in wasted.bytes:
            change = None if path in tree.nodes else Change.REMOVED
            yield Row(path, _NOTHING, wasted.bytes[path], change=change, files=wasted.files[path])
        else:
            yield Row(path, UNSTATED, is_listed=False)
        tree.step(path.count(SEPARATOR))


def _with_folders(paths: Iterable[str], hold: Callable[[int], None]) -> list[str]:
    """These paths and those of the directories around them, in order."""
    found = set(paths)
    for path in list(found):
        above = path.rpartition(SEPARATOR)[0]
        while above and above not in found:
            hold(_FOLDER_BYTES + text_memory(above))
            found.add(above)
            above = above.rpartition(SEPARATOR)[0]
    return sorted(found)
