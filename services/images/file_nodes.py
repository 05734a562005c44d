"""Nodes of a tree of files, and what differs between two of them.

A layer changes the tree in place, and its `Journal` has what was there before, name by name. So neither putting a layer on top nor
comparing the tree before and after it costs more than what the layer touched, however much else is in the directories that it changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import NamedTuple

from stowage.services.archive.file_list import EntryKind
from stowage.services.images.file_table import NO_CONTENT

NODE_BYTES = 240
"""Memory for a node, its name included, roughly."""

IMPLIED = -1
"""The entry of a directory that no layer lists, but in which something is."""


class Node:
    """A path of an image. `children` are those of a directory, else None. `layer` and `entry` are where its attributes are.

    `content` is the number of a file's content, which hard links share.
    """

    __slots__ = ("children", "content", "entry", "kind", "layer", "made")

    def __init__(self, kind: EntryKind, layer: int, entry: int, made: int, content: int = NO_CONTENT) -> None:
        self.kind, self.layer, self.entry, self.content = kind, layer, entry, content
        self.children: dict[str, Node] | None = {} if kind is EntryKind.DIRECTORY else None
        self.made = made


class Difference(NamedTuple):
    """A path that is not the same node before and after; None where it is absent. `depth` is how many names lead to it."""

    depth: int
    name: str
    before: Node | None
    after: Node | None


class Journal:
    """What a layer changes in the directories that are below it. Each has a new node, which takes over the children of the old one."""

    def __init__(self, layer: int) -> None:
        self._layer = layer
        self._copies: dict[Node, Node] = {}
        self._replaced: dict[Node, tuple[Node, dict[str, Node | None]]] = {}
        self.size = 0
        """How many directories and names it has."""

    def copy(self, folder: Node) -> Node:
        """The node for changes of a directory by this layer: itself if the layer has made it."""
        if folder.made == self._layer:
            return folder
        copied = Node(folder.kind, folder.layer, folder.entry, self._layer)
        if folder.children:
            copied.children = folder.children
            self._copies[folder] = copied
            self._replaced[copied] = folder, {}
        self.size += 1
        return copied

    def put(self, folder: Node, name: str, node: Node | None) -> None:
        """Put a node into a directory that is for changes; None removes what is there."""
        children = folder.children if folder.children is not None else {}
        if folder in self._replaced and name not in (replaced := self._replaced[folder][1]):
            replaced[name] = children.get(name)
            self.size += 1
        if node is None:
            children.pop(name, None)
        else:
            children[name] = node

    def clear(self, folder: Node) -> None:
        """Remove all that is in a directory that is for changes."""
        if folder in self._replaced:
            old = self._replaced[folder][0]
            old.children = dict(self.children(old))
            del self._copies[old], self._replaced[folder]
        folder.children = {}

    def compare(self, before: Node, after: Node) -> Iterator[tuple[str, Node | None, Node | None]]:
        """The names in two directories that are not the same node, in the first one before the layer."""
        if self._copies.get(before) is after:
            for name, left in self._replaced[after][1].items():
                right = (after.children or {}).get(name)
                if left is not right:
                    yield name, left, right
        else:
            yield from _compare(self.children(before), after.children or {})

    def children(self, folder: Node) -> Mapping[str, Node]:
        """What was in a directory before the layer."""
        copied = self._copies.get(folder)
        if copied is None:
            return folder.children or {}
        _, replaced = self._replaced[copied]
        kept = {name: node for name, node in (copied.children or {}).items() if name not in replaced}
        return kept | {name: node for name, node in replaced.items() if node is not None}

    def is_changed_only_inside(self, before: Node | None, after: Node | None) -> bool:
        """Whether these are a directory before and after the layer which has the same attributes."""
        if before is None or after is None or (before.layer, before.entry) != (after.layer, after.entry):
            return False
        return self._copies.get(before) is after

    def restore(self, before: Node, after: Node | None) -> None:
        """Give a directory back what was in it, unless the other one is its node after the layer: those two share it."""
        if self._copies.get(before, after) is not after:
            before.children = dict(self.children(before))


def compare(before: Node, after: Node, journal: Journal) -> Iterator[Difference]:
    """Every path below two roots that is not the same node in both, in the order of a walk; the journal is that of the layer between."""
    nothing = Node(EntryKind.DIRECTORY, 0, IMPLIED, -1)
    ways = [_in_order(journal.compare(before, after))]
    while ways:
        for name, left, right in ways[-1]:
            old = nothing if left is None or left.children is None else left
            new = nothing if right is None or right.children is None else right
            if old is not nothing:
                journal.restore(old, right)
            yield Difference(len(ways), name, left, right)
            if old is not new:
                ways.append(_in_order(journal.compare(old, new)))
                break
        else:
            ways.pop()


def _in_order(differing: Iterator[tuple[str, Node | None, Node | None]]) -> Iterator[tuple[str, Node | None, Node | None]]:
    return iter(sorted(differing, key=itemgetter(0)))


def _compare(olds: Mapping[str, Node], news: Mapping[str, Node]) -> Iterator[tuple[str, Node | None, Node | None]]:
    for name, right in news.items():
        left = olds.get(name)
        if left is not right:
            yield name, left, right
    for name, left in olds.items():
        if name not in news:
            yield name, left, None
