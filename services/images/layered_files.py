"""The files of an image, layer by layer: what each layer did, and how many bytes lie in files that nobody sees any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from stowage.services.archive.file_list import FileList
from stowage.services.images.file_changes import Change, last_changes
from stowage.services.images.file_nodes import NODE_BYTES
from stowage.services.images.file_tree import FileTree

_LAYER_BYTES = 3000
"""Memory for what is known of a layer, its entries apart, roughly."""


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
    """The tree of some layers. `wasted` has the largest first."""

    tree: FileTree
    effects: tuple[LayerEffect, ...]
    wasted: tuple[WastedPath, ...]
    weight: int

    @property
    def is_complete(self) -> bool:
        """Whether every layer was read, so that the next look finds the same."""
        return all(listed.most for listed in self.tree.lists)


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
    kept = tree.finish()
    stored, gone, wasted = _Sums(), _Sums(), _Sums()
    for content, size in enumerate(tree.sizes):
        layer, entry = tree.origins[content]
        stored.add(layer, size)
        if not kept[content]:
            gone.add(layer, size)
            if size:
                wasted.add(tree.lists[layer].paths[entry], size)
    weight = sum(listed.weight + _LAYER_BYTES for listed in tree.lists) + (most - tree.nodes_left) * NODE_BYTES
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
    paths = tuple(_wasted_paths(tree, wasted))
    tree.lists = [replace(listed, paths=[]) for listed in tree.lists]  # nodes have the names
    return LayeredFiles(tree, effects, paths, weight)


def _wasted_paths(tree: FileTree, wasted: _Sums) -> Iterator[WastedPath]:
    for key, size in sorted(wasted.bytes.items(), key=lambda each: (-each[1], str(each[0]))):
        path = str(key)
        tree.step(path)
        yield WastedPath(path, size, wasted.files[key], tree.find(path) is not None)


def _sum_changes(tree: FileTree) -> _Sums:
    sums = _Sums()
    for each in last_changes(tree):
        sums.add(each.change, each.before if each.change is Change.REMOVED else each.after)
        tree.step()
    return sums
