"""The file system of an image, made of the lists of its layers, one on top of the other.

Directories merge, everything else replaces what was there. A whiteout removes a path of lower layers, an opaque mark all that they have in
a directory; what the same layer adds stays. A directory of an upper layer replaces a symlink, but what is below a symlink of its own layer
is where that leads, as when each layer is unpacked into a directory of its own. A later entry of a layer wins over an earlier one of the
same path.

A layer changes the nodes of directories in place, and keeps a journal of it (file_nodes.py) until the next one is put on top.

Source: OCI image-spec layer.md, "Representing Changes"; containerd's pkg/archive/tar.go and continuity's fs.RootPath.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stowage.services.archive.file_list import EntryKind, FileList
from stowage.services.archive.layer_files import MAX_PATH
from stowage.services.images.file_nodes import IMPLIED, NODE_BYTES, Journal, Node
from stowage.services.images.file_table import NO_CONTENT, NOT_STATED, Contents, Facts

_STEP = 4096
_STEPS_PER_NODE = 16
"""How many entries and directories may be gone through, for each node that there may be. Real images take about two."""
_STEPS_PER_CHANGE = 10
"""What a directory that a layer changes counts: about as much time."""
_JOURNAL_BYTES = 300
"""Memory for a directory or a name in a journal, roughly."""
_MOST_LINKS = 255
"""How many symlinks lead from one to the next, at most."""
_FOLDERS = 1000
"""How many directories are remembered by path: members of an archive come by directory, and paths may be long."""
_NOWHERE = Node(EntryKind.OTHER, 0, IMPLIED, -1)


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
        self.contents = Contents()
        self.first_content = 0
        """The first content of the last layer."""
        self.origins: list[tuple[int, int]] = []
        """Layer and entry of each content."""
        self._left, self._hold, self._check = most, hold, check
        self._most_steps, self._steps, self._checked, self._journaled = most * _STEPS_PER_NODE, 0, 0, 0
        self._folders: dict[str, Node] = {}
        self._has_symlinks = False
        """Whether the last layer has had any."""

    @property
    def nodes_left(self) -> int:
        """How many more nodes there may be."""
        return self._left

    def add(self, listed: FileList) -> None:
        """Put a layer on top."""
        self._hold(listed.path_weight)  # nodes have the names once more
        layer, self.first_content = len(self.lists), len(self.origins)
        self.lists.append(listed)
        self.before, self.journal = self.root, Journal(layer)
        self.root = self.journal.copy(self.before)
        self._folders, self._has_symlinks = {"": self.root}, False
        self._apply_marks(listed)
        aufs: dict[str, int] = {}
        for entry, (path, kind) in enumerate(zip(listed.paths, listed.kinds, strict=True)):
            if kind is EntryKind.DIRECTORY:
                node = self._folder_of_entry(path)
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

    def facts(self, node: Node) -> Facts:
        """What is known of a node."""
        if node.entry == IMPLIED:
            return Facts(node.kind, node.layer, NOT_STATED, 0, 0, 0, "", NO_CONTENT)
        listed, entry = self.lists[node.layer], node.entry
        return Facts(
            node.kind,
            node.layer,
            listed.modes[entry],
            listed.uids[entry],
            listed.gids[entry],
            listed.times[entry],
            listed.links[entry],
            node.content,
        )

    def walk(self) -> Iterator[tuple[int, str, Node]]:
        """Every path, as how many names lead to it, its last name, and its node: a directory, then what is in it, by name."""
        ways = [iter(sorted((self.root.children or {}).items()))]
        while ways:
            for name, node in ways[-1]:
                yield len(ways), name, node
                if node.children:
                    ways.append(iter(sorted(node.children.items())))
                    break
            else:
                ways.pop()

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
                    self._release(node)
                    self.journal.put(self._folder(folder), name, None)
            elif node is not None and node.children:
                self._release(node)
                self.journal.clear(self._folder(path))
            if node is not None and node.children:
                self._folders = {"": self.root}  # those below it are in the tree no more

    def _make(self, kind: EntryKind, entry: int, aufs: dict[str, int]) -> Node:
        layer = len(self.lists) - 1
        listed = self.lists[layer]
        if kind is EntryKind.HARDLINK:
            link = listed.links[entry]
            self.step(link)
            parent, slash, name = link.rpartition("/")
            linked = self.find(self._follow(parent) + slash + name)
            content = linked.content if linked else aufs.get(link, NO_CONTENT)
        else:
            content = self._add_content(layer, entry) if kind is EntryKind.FILE else NO_CONTENT
        return Node(kind, layer, entry, layer, content)

    def _add_content(self, layer: int, entry: int) -> int:
        self.contents.sizes.append(self.lists[layer].sizes[entry])
        self.contents.checksums.append(self.lists[layer].checksums[entry])
        self.contents.uses.append(0)
        self.origins.append((layer, entry))
        return len(self.origins) - 1

    def _release(self, gone: Node) -> None:
        """Count that no path leads to a node, and to what is in it, any more."""
        waiting = [gone]
        while waiting:
            node = waiting.pop()
            if node.children:
                waiting += node.children.values()
            elif node.content != NO_CONTENT:
                self.contents.uses[node.content] -= 1

    def _put(self, path: str, node: Node) -> None:
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        old = (folder.children or {}).get(name)
        if old is None:
            self._count()
        else:
            self._release(old)
            if old.children is not None or old.kind is EntryKind.SYMLINK:
                self._folders = {"": self.root}  # those below it are in the tree no more
        self._has_symlinks |= node.kind is EntryKind.SYMLINK
        if node.content != NO_CONTENT:
            self.contents.uses[node.content] += 1
        self.journal.put(folder, name, node)

    def _folder_of_entry(self, path: str) -> Node:
        """The directory at this path, instead of a symlink of the same layer."""
        if self._has_symlinks and path:
            parent, _, name = path.rpartition("/")
            old = (self._folder(parent).children or {}).get(name)
            if old is not None and old.kind is EntryKind.SYMLINK:
                self._put(path, Node(EntryKind.DIRECTORY, len(self.lists) - 1, IMPLIED, len(self.lists) - 1))
        return self._folder(path)

    def _folder(self, path: str) -> Node:
        """The directory at this path, for changes by the current layer; made, instead of anything else, if there is none."""
        known = self._folders.get(path)
        if known is not None:
            return known
        self.step(path)
        layer, node = len(self.lists) - 1, self.root
        real = self._follow(path)
        for part in real.split("/") if real else ():
            found = (node.children or {}).get(part)
            if found is None:
                self._count()
            elif found.children is None:
                self._release(found)
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

    def _follow(self, path: str) -> str:
        """Where symlinks of the last layer lead on the way to a directory, never out of the root; the path itself if that is nowhere."""
        if not self._has_symlinks:
            return path
        layer, followed = len(self.lists) - 1, 0
        real: list[tuple[str, Node]] = []
        waiting = path.split("/")[::-1]
        while waiting:
            name, folder = waiting.pop(), real[-1][1] if real else self.root
            found = (folder.children or {}).get(name)
            if name == "..":
                del real[-1:]
            elif found is not None and found.made == layer and found.kind is EntryKind.SYMLINK:
                link = self.lists[layer].links[found.entry]
                self.step(link)
                followed += 1
                if not link or followed > _MOST_LINKS:
                    return path
                if link.startswith("/"):
                    real.clear()
                waiting += link.split("/")[::-1]
            elif name not in ("", "."):
                real.append((name, found or _NOWHERE))
        shown = "/".join(name for name, _ in real)
        return shown if len(shown) <= MAX_PATH else path

    def _count(self) -> None:
        if self._left % _STEP == 0:
            self._hold(_STEP * NODE_BYTES)
        self._left -= 1
        if self._left < 0:
            raise TooManyNodes
