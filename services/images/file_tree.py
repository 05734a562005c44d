"""The file system of an image, made of the lists of its layers, one on top of the other.

Directories merge, everything else replaces what was there. A whiteout removes a path of lower layers, an opaque mark all that they have in
a directory; what the same layer adds stays. Symlinks are not followed: a directory of an upper layer replaces one. A later entry of a layer
wins over an earlier one of the same path.

A layer changes the nodes of directories in place, and keeps a journal of it (file_nodes.py) until the next one is put on top.

Source: OCI image-spec layer.md, "Representing Changes".
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

from stowage.services.archive.file_list import EntryKind, FileList
from stowage.services.images.file_nodes import IMPLIED, NO_CONTENT, NODE_BYTES, Journal, Node

_STEP = 4096
_STEPS_PER_NODE = 16
"""How many entries and directories may be gone through, for each node that there may be. Real images take about two."""
_STEPS_PER_CHANGE = 10
"""What a directory that a layer changes counts: about as much time."""
_JOURNAL_BYTES = 300
"""Memory for a directory or a name in a journal, roughly."""
_FOLDERS = 1000
"""How many directories are remembered by path: members of an archive come by directory, and paths may be long."""


class TooManyNodes(Exception):
    """The directories that entries imply are far more than the entries."""


class TooManySteps(Exception):
    """The directories of the layers are so deep that putting them on top of each other takes too long."""


class FileTree:
    """The tree after the layers that were added. `most` limits its nodes; beyond it, `add` raises TooManyNodes, and if it has to go through
    far too many directories, TooManySteps. `hold` is called with bytes of memory that nodes are about to take, and `check` now and then.
    """

    def __init__(self, most: int, hold: Callable[[int], None] = lambda _: None, check: Callable[[], None] = lambda: None) -> None:
        self.root = Node(EntryKind.DIRECTORY, 0, IMPLIED, -1)
        self.before, self.journal = self.root, Journal(0)
        """The root without the last layer, and what that changed."""
        self.lists: list[FileList] = []
        self.sizes = array("q")
        """The bytes of each content."""
        self.checksums = array("q")
        """The checksum of each content."""
        self.origins: list[tuple[int, int]] = []
        """Layer and entry of each content."""
        self._left, self._hold, self._check = most, hold, check
        self._most_steps, self._steps, self._checked, self._journaled = most * _STEPS_PER_NODE, 0, 0, 0
        self._folders: dict[str, Node] = {}

    @property
    def nodes_left(self) -> int:
        """How many more nodes there may be."""
        return self._left

    def add(self, listed: FileList) -> None:
        """Put a layer on top."""
        self._hold(listed.path_weight)  # nodes have the names once more
        layer = len(self.lists)
        self.lists.append(listed)
        self.before, self.journal = self.root, Journal(layer)
        self.root = self.journal.copy(self.before)
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
            self.step()
        self._folders = {}

    def step(self, path: str = "") -> None:
        """Count an entry, or the directories of a path, that is gone through; raises TooManySteps."""
        self._steps += 1 + path.count("/")
        if self._steps - self._checked >= _STEP:
            self._checked = self._steps
            if self._steps > self._most_steps:
                raise TooManySteps
            self._check()
            if self.journal.size > self._journaled:
                self._hold((self.journal.size - self._journaled) * _JOURNAL_BYTES)
                self._journaled = self.journal.size

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
            if kind not in (EntryKind.WHITEOUT, EntryKind.OPAQUE):
                continue
            self.step(path)
            node = self.find(path)
            if node is not None and kind is EntryKind.WHITEOUT:
                folder, _, name = path.rpartition("/")
                if path:
                    self.journal.put(self._folder(folder), name, None)
            elif node is not None and node.children:
                self.journal.clear(self._folder(path))
            if node is not None and node.children:
                self._folders = {"": self.root}  # those below it are in the tree no more

    def _make(self, kind: EntryKind, entry: int, aufs: dict[str, int]) -> Node:
        layer = len(self.lists) - 1
        listed = self.lists[layer]
        if kind is EntryKind.HARDLINK:
            link = listed.links[entry]
            self.step(link)
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
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        old = (folder.children or {}).get(name)
        if old is None:
            self._count()
        elif old.children is not None:
            self._folders = {"": self.root}  # those below it are in the tree no more
        self.journal.put(folder, name, node)

    def _folder(self, path: str) -> Node:
        """The directory at this path, for changes by the current layer; made, instead of anything else, if there is none."""
        known = self._folders.get(path)
        if known is not None:
            return known
        self.step(path)
        layer, node = len(self.lists) - 1, self.root
        for part in path.split("/"):
            found = (node.children or {}).get(part)
            if found is None:
                self._count()
            if found is None or found.children is None:
                below = Node(EntryKind.DIRECTORY, layer, IMPLIED, layer)
            else:
                below = self.journal.copy(found)
            if below is not found:
                self.journal.put(node, part, below)
                self._steps += _STEPS_PER_CHANGE
            node = below
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
