"""The file system of an image, made of the lists of its layers, one on top of the other.

Directories merge, everything else replaces what was there. A whiteout removes a path of lower layers, an opaque mark all that they have in
a directory; what the same layer adds stays. Symlinks are not followed: a directory of an upper layer replaces one. A later entry of a layer
wins over an earlier one of the same path.

Nodes of a finished layer never change: the next layer copies those that it changes, so two layers can be compared by what differs.

Source: OCI image-spec layer.md, "Representing Changes".
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import NamedTuple

from stowage.services.archive.file_list import EntryKind, FileList

NO_CONTENT = -1
NODE_BYTES = 270
"""Memory for a node, its name included, roughly."""

_STEP = 4096
_FOLDERS = 1000
"""How many directories are remembered by path: members of an archive come by directory, and paths may be long."""

IMPLIED = -1
"""The entry of a directory that no layer lists, but in which something is."""


class TooManyNodes(Exception):
    """The directories that entries imply are far more than the entries."""


class Node:
    """A path of an image. `children` are those of a directory, else None. `layer` and `entry` are where its attributes are.

    `content` is the number of a file's content, which hard links share. `bytes` and `files` are those of a file, or of all in a directory,
    with each content counted once; they are known when the tree is finished.
    """

    __slots__ = ("_layer_made", "bytes", "children", "content", "entry", "files", "kind", "layer")

    def __init__(self, kind: EntryKind, layer: int, entry: int, made: int, content: int = NO_CONTENT) -> None:
        self.kind, self.layer, self.entry, self.content = kind, layer, entry, content
        self.children: dict[str, Node] | None = {} if kind is EntryKind.DIRECTORY else None
        self._layer_made = made
        self.bytes = self.files = 0

    def copy_for(self, layer: int) -> Node:
        """This directory for changes by a layer: itself if that layer has made it, else a copy."""
        if self._layer_made == layer:
            return self
        copied = Node(self.kind, self.layer, self.entry, layer)
        copied.children = dict(self.children or {})
        return copied


class Difference(NamedTuple):
    """A path that is not the same node before and after; None where it is absent.

    `top` is the uppermost directory around it that is only on one side, or the path itself.
    """

    path: str
    before: Node | None
    after: Node | None
    top: str


class FileTree:
    """The tree after the layers that were added. `most` limits its nodes; beyond it, `add` raises TooManyNodes. `hold` is called with
    bytes of memory that nodes are about to take.
    """

    def __init__(self, most: int, hold: Callable[[int], None] = lambda _: None) -> None:
        self.root = Node(EntryKind.DIRECTORY, 0, IMPLIED, -1)
        self.lists: list[FileList] = []
        self.sizes = array("q")
        """The bytes of each content."""
        self.checksums = array("q")
        """The checksum of each content."""
        self.origins: list[tuple[int, int]] = []
        """Layer and entry of each content."""
        self._left, self._hold = most, hold
        self._folders: dict[str, Node] = {}

    @property
    def nodes_left(self) -> int:
        """How many more nodes there may be."""
        return self._left

    def add(self, listed: FileList) -> Node:
        """Put a layer on top; returns the root as it was before."""
        self._hold(listed.path_weight)  # nodes have the names once more
        before, layer = self.root, len(self.lists)
        self.lists.append(listed)
        self.root = before.copy_for(layer)
        self._folders = {"": self.root}
        self._apply_marks(listed)
        aufs: dict[str, int] = {}
        for entry, (path, kind) in enumerate(zip(listed.paths, listed.kinds, strict=True)):
            if kind is EntryKind.DIRECTORY:
                node = self._folder(path)
                node.layer, node.entry = layer, entry
            elif kind is EntryKind.AUFS:
                aufs[path] = self._add_content(layer, entry)
            elif kind not in (EntryKind.WHITEOUT, EntryKind.OPAQUE) and path:
                self._put(path, self._make(kind, entry, aufs))
        self._folders = {}
        return before

    def find(self, path: str) -> Node | None:
        """What is at a clean path."""
        node: Node | None = self.root
        for part in path.split("/") if path else ():
            node = node.children.get(part) if node and node.children else None
        return node

    def walk(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """Every path below a directory, or that of something else, in no particular order."""
        start = self.find(path)
        if start is None:
            return
        if start.children is None:
            yield path, start
        waiting = [(f"{path}/" if path else "", start)]
        while waiting:
            prefix, folder = waiting.pop()
            for name, node in (folder.children or {}).items():
                yield prefix + name, node
                if node.children:
                    waiting.append((f"{prefix}{name}/", node))

    def finish(self) -> bytearray:
        """Count what is in each directory; returns for each content whether the tree still has it."""
        order, parents = [self.root], [-1]
        for number, node in enumerate(order):
            if node.children:
                order += node.children.values()
                parents += [number] * len(node.children)
        kept = bytearray(len(self.sizes))
        for node in order:
            node.bytes = node.files = 0
            if node.children is None:
                node.files = 1
                if node.content != NO_CONTENT and not kept[node.content]:
                    kept[node.content] = 1
                    node.bytes = self.sizes[node.content]
        for number in range(len(order) - 1, 0, -1):
            parent, node = order[parents[number]], order[number]
            parent.bytes += node.bytes
            parent.files += node.files
        return kept

    def _apply_marks(self, listed: FileList) -> None:
        """Remove what the whiteouts and opaque marks of the layer name, wherever they are in it: they are about lower layers only."""
        for path, kind in zip(listed.paths, listed.kinds, strict=True):
            if kind is EntryKind.WHITEOUT and self.find(path):
                folder, _, name = path.rpartition("/")
                self._names(folder).pop(name, None)
                self._folders = {"": self.root}
            elif kind is EntryKind.OPAQUE and (node := self.find(path)) and node.children:
                self._folder(path).children = {}
                self._folders = {"": self.root}

    def _make(self, kind: EntryKind, entry: int, aufs: dict[str, int]) -> Node:
        layer = len(self.lists) - 1
        listed = self.lists[layer]
        if kind is EntryKind.HARDLINK:
            link = listed.links[entry]
            linked = self.find(link)
            content = linked.content if linked else aufs.get(link, NO_CONTENT)
        else:
            content = self._add_content(layer, entry) if kind is EntryKind.FILE else NO_CONTENT
        return Node(kind, layer, entry, layer, content)

    def _add_content(self, layer: int, entry: int) -> int:
        self.sizes.append(self.lists[layer].sizes[entry])
        self.checksums.append(self.lists[layer].checksums[entry])
        self.origins.append((layer, entry))
        return len(self.sizes) - 1

    def _put(self, path: str, node: Node) -> None:
        folder, _, name = path.rpartition("/")
        old = self._names(folder).get(name)
        if old is None:
            self._count()
        elif old.children is not None:
            self._folders = {"": self.root}  # those below it are in the tree no more
        self._names(folder)[name] = node

    def _names(self, path: str) -> dict[str, Node]:
        """What is in the directory at this path, for changes by the current layer."""
        return _children(self._folder(path))

    def _folder(self, path: str) -> Node:
        """The directory at this path, for changes by the current layer; made, instead of anything else, if there is none."""
        known = self._folders.get(path)
        if known is not None:
            return known
        layer, node = len(self.lists) - 1, self.root
        for part in path.split("/"):
            children = _children(node)
            found = children.get(part)
            if found is None:
                self._count()
            if found is None or found.children is None:
                found = Node(EntryKind.DIRECTORY, layer, IMPLIED, layer)
            node = children[part] = found.copy_for(layer)
        if len(self._folders) > _FOLDERS:
            self._folders = {"": self.root}
        self._folders[path] = node
        return node

    def _count(self) -> None:
        if self._left % _STEP == 0:
            self._hold(_STEP * NODE_BYTES)
        self._left -= 1
        if self._left < 0:
            raise TooManyNodes


def _children(folder: Node) -> dict[str, Node]:
    """What is in a directory, to be changed."""
    return {} if folder.children is None else folder.children


def compare(before: Node, after: Node) -> Iterator[Difference]:
    """Every path below two roots that is not the same node in both."""
    waiting: list[tuple[str, Node | None, Node | None, str]] = [("", before, after, "")]
    while waiting:
        prefix, old, new, top = waiting.pop()
        olds, news = (old and old.children) or {}, (new and new.children) or {}
        for name, right in news.items():
            left = olds.get(name)
            if left is not right:
                yield from _pair(prefix + name, left, right, top, waiting)
        for name, left in olds.items():
            if name not in news:
                yield from _pair(prefix + name, left, None, top, waiting)


def _pair(
    path: str, left: Node | None, right: Node | None, top: str, waiting: list[tuple[str, Node | None, Node | None, str]]
) -> Iterator[Difference]:
    """The difference of two nodes of one path; what is below them waits."""
    is_left, is_right = left is not None and left.children is not None, right is not None and right.children is not None
    if is_left != is_right:
        top = top or path
    if is_left or is_right:
        waiting.append((f"{path}/", left if is_left else None, right if is_right else None, top))
    yield Difference(path, left, right, top or path)
