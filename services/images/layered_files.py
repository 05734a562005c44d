"""The files of an image, layer by layer: what each layer did, and how many bytes lie in files that nobody sees any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from stowage.services.archive.file_list import FileList
from stowage.services.images.file_changes import Change, ChangedFile, find_changes
from stowage.services.images.file_tree import NODE_BYTES, FileTree, Node


@dataclass(frozen=True, slots=True)
class Sum:
    """How many files, and their bytes."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class LayerEffect:
    """What a layer did to the files below it. `content` is all that it stores, `wasted` what of that no path leads to any more.

    Of a path that it changed, or stored again as it was, the new bytes count; of one that it removed, the old ones.
    """

    entries: int
    content: Sum
    wasted: Sum
    changes: dict[Change, Sum]
    problem: str


@dataclass(frozen=True, slots=True)
class WastedPath:
    """A path whose content was stored `copies` times for nothing, in `bytes`; it `remains` if there is something else now."""

    path: str
    bytes: int
    copies: int
    remains: bool


@dataclass(frozen=True, slots=True)
class LayeredFiles:
    """The tree of some layers. `before` is its root without the last one; `wasted` has the largest first."""

    tree: FileTree
    before: Node
    effects: tuple[LayerEffect, ...]
    wasted: tuple[WastedPath, ...]
    weight: int

    def last_changes(self) -> Iterator[ChangedFile]:
        """What the last layer did."""
        return find_changes(self.tree, self.before, self.tree, self.tree.root)


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


def layer_files(lists: Iterable[FileList], *, most: int, hold: Callable[[int], None] = lambda _: None) -> LayeredFiles:
    """Put layers on top of each other; raises TooManyNodes beyond `most` nodes, and what `hold` raises, which reserves their memory."""
    tree = FileTree(most, hold)
    before, changes, entries = tree.root, list[_Sums](), list[int]()
    for listed in lists:
        before = tree.add(listed)
        changes.append(_sum_changes(tree, before))
        entries.append(len(listed))
    kept = tree.finish()
    stored, gone, wasted = _Sums(), _Sums(), _Sums()
    for content, size in enumerate(tree.sizes):
        layer, entry = tree.origins[content]
        stored.add(layer, size)
        if not kept[content]:
            gone.add(layer, size)
            if size:
                wasted.add(tree.lists[layer].paths[entry], size)
    weight = sum(listed.weight for listed in tree.lists) + (most - tree.nodes_left) * NODE_BYTES
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
    paths = tuple(
        WastedPath(str(path), size, wasted.files[path], tree.find(str(path)) is not None)
        for path, size in sorted(wasted.bytes.items(), key=lambda each: (-each[1], str(each[0])))
    )
    tree.lists = [replace(listed, paths=[]) for listed in tree.lists]  # nodes have the names
    return LayeredFiles(tree, before, effects, paths, weight)


def _sum_changes(tree: FileTree, before: Node) -> _Sums:
    sums = _Sums()
    for each in find_changes(tree, before, tree, tree.root):
        sums.add(each.change, each.before if each.change is Change.REMOVED else each.after)
    return sums
