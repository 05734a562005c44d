"""The file system of an image, made of the lists of its layers, one on top of the other.

Directories merge, everything else replaces what was there. A whiteout removes a path of lower layers, an opaque mark all that they have in
a directory; what the same layer adds stays. A directory of an upper layer replaces a symlink, but what is below a symlink of its own layer
is where that leads, as when each layer is unpacked into a directory of its own. A later entry of a layer wins over an earlier one of the
same path.

Source: OCI image-spec layer.md, "Representing Changes"; containerd's pkg/archive/tar.go and continuity's fs.RootPath.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from stowage.services.archive.bounds import text_memory
from stowage.services.archive.file_list import EntryKind, FileList
from stowage.services.archive.layer_files import MAX_PATH
from stowage.services.images.file_changes import change_of
from stowage.services.images.file_table import NO_CONTENT, SEPARATOR, UNSTATED, Change, Facts

_STEP = 4096
_STEPS_PER_PATH = 16
"""How many entries and directories may be gone through, for each path that there may be. Real images take about two."""
_SORTED_IN_STEP = 16
"""How many paths are sorted, or looked at, in the time of a step."""
_ENTRY_BYTES = 150
_PATH_BYTES = 240
"""Memory for an entry, and for a path in the tree, roughly; the path's text apart."""
_MOST_LINKS = 255
"""How many symlinks lead from one to the next, at most."""
_FOLDERS = 1000
"""How many directories are remembered by path: members of an archive come by directory, and paths may be long."""
_AFTER = chr(ord(SEPARATOR) + 1)


class TooManyNodes(Exception):
    """The directories that entries imply are far more than the entries."""


class TooManySteps(Exception):
    """The directories of the layers are so deep that putting them on top of each other takes too long."""


class PathChange(NamedTuple):
    """The change of a path by a layer, if any, and its bytes before and after."""

    path: str
    change: Change | None
    before: int
    after: int


class FileTree:
    """The tree after the layers that were added. Names in its paths have SEPARATOR between them.

    The node of a path is the number of the entry that states it, all layers counted together, or for a directory that no layer states
    -1 - the number of the layer that has something in it. A content has the number of the entry that stores it.

    `most` limits the paths; beyond it, `add` raises TooManyNodes, and if it has to go through far too many directories, TooManySteps.
    `hold` is called with bytes of memory that are about to be used, and `check` now and then.
    """

    def __init__(self, most: int, hold: Callable[[int], None] = lambda _: None, check: Callable[[], None] = lambda: None) -> None:
        self.nodes: dict[str, int] = {}
        self.before: dict[str, int | None] = {}
        """The nodes that the last layer replaced, None where there was none."""
        self.entries = FileList()
        """The entries of all layers."""
        self.starts: list[int] = []
        """The first entry of each layer."""
        self.layers, self.contents, self.uses = array("i"), array("q"), array("i")
        """By entry: its layer, the content that it has or links to, and how many paths lead to the one that it stores."""
        self._left, self._hold, self._check = most, hold, check
        self._most_steps, self._steps, self._checked = most * _STEPS_PER_PATH, 0, 0
        self._order: list[str] | None = None
        """The paths of lower layers, sorted when they are needed."""
        self._folders: dict[str, str] = {}
        """Where directories of the layer are, by their path in it."""
        self._symlinks: set[str] = set()
        """Those of the last layer."""

    def add(self, listed: FileList) -> None:
        """Put a layer on top."""
        first, layer = len(self.entries), len(self.starts)
        self._hold(listed.path_weight + len(listed) * _ENTRY_BYTES)  # the tree has the paths once more
        self.starts.append(first)
        self.layers.extend([layer] * len(listed))
        self.contents.extend([NO_CONTENT] * len(listed))
        self.uses.extend([0] * len(listed))
        self.entries.extend(listed)
        paths, kinds = self.entries.paths, self.entries.kinds
        paths[first:] = [path.replace("/", SEPARATOR) for path in listed.paths]
        self.before, self._folders, self._symlinks, self._order = {}, {"": ""}, set(), None
        self._apply_marks(first)
        aufs: dict[str, int] = {}
        for entry in range(first, len(paths)):
            path, kind = paths[entry], kinds[entry]
            if kind is EntryKind.AUFS:
                aufs[path] = self.contents[entry] = entry
            elif kind is EntryKind.DIRECTORY and path:
                self._put_folder(path, entry)
            elif kind not in (EntryKind.DIRECTORY, EntryKind.WHITEOUT, EntryKind.OPAQUE) and path:
                self._put(path, kind, entry, aufs)
            self.step()

    def step(self, folders: int = 0) -> None:
        """Count an entry, or the directories of a path, that is gone through; raises TooManySteps."""
        self._steps += 1 + folders
        if self._steps - self._checked >= _STEP:
            self._checked = self._steps
            if self._steps > self._most_steps:
                raise TooManySteps
            self._check()

    def is_folder(self, node: int | None) -> bool:
        """Whether a node is that of a directory."""
        return node is not None and (node < 0 or self.entries.kinds[node] is EntryKind.DIRECTORY)

    def facts(self, node: int) -> Facts:
        """What is known of a node."""
        if node < 0:
            return UNSTATED._replace(layer=-1 - node)
        entries, content = self.entries, self.contents[node]
        has = (0, NO_CONTENT) if content == NO_CONTENT else (entries.sizes[content], entries.checksums[content])
        return Facts(
            entries.kinds[node],
            self.layers[node],
            entries.modes[node],
            entries.uids[node],
            entries.gids[node],
            entries.times[node],
            entries.links[node],
            *has,
        )

    def sides(self, path: str) -> tuple[Facts | None, Facts | None]:
        """What is known of a path before and after the last layer."""
        new = self.nodes.get(path)
        old = self.before.get(path, new)
        return None if old is None else self.facts(old), None if new is None else self.facts(new)

    def content(self, node: int | None) -> int:
        """The content of a node, or NO_CONTENT."""
        return NO_CONTENT if node is None or node < 0 else self.contents[node]

    def changes(self) -> Iterator[PathChange]:
        """What the last layer did to the files below it; files that it stored again as they were are among them."""
        seen, sizes, first = {NO_CONTENT}, self.entries.sizes, self.starts[-1]
        paths = sorted(path for path, old in self.before.items() if old != self.nodes.get(path))
        for path, following in pairwise([*paths, ""]):
            self.step()
            old, new = self.before[path], self.nodes.get(path)
            before = after = 0
            if old is not None and (content := self.content(old)) not in seen and not self.uses[content]:
                seen.add(content)
                before = sizes[content]
            if new is not None and (content := self.content(new)) not in seen and content >= first:
                seen.add(content)
                after = sizes[content]
            if old is None and not self.is_folder(new):  # as most are, so this is quick
                change: Change | None = Change.ADDED
            else:
                change = change_of(*self.sides(path), has_more=following.startswith(path + SEPARATOR))
            yield PathChange(path, change, before, after)

    def _apply_marks(self, first: int) -> None:
        """Remove what the whiteouts and opaque marks of the layer name, wherever they are in it: they are about lower layers only."""
        for entry in range(first, len(self.entries)):
            kind = self.entries.kinds[entry]
            if kind not in (EntryKind.WHITEOUT, EntryKind.OPAQUE):
                continue
            path = self.entries.paths[entry]
            self.step(path.count(SEPARATOR))
            node = self.nodes.get(path)
            if self.is_folder(node) or (not path and kind is EntryKind.OPAQUE):
                self._remove_below(path)
            if node is not None and kind is EntryKind.WHITEOUT:
                self._set(path, None)

    def _put(self, path: str, kind: EntryKind, entry: int, aufs: dict[str, int]) -> None:
        if kind is EntryKind.HARDLINK:
            self.contents[entry] = self._linked_content(self.entries.links[entry].replace("/", SEPARATOR), aufs)
        elif kind is EntryKind.FILE:
            self.contents[entry] = entry
        real = self._locate(path)
        old = self.nodes.get(real)
        if self.is_folder(old):
            self._remove_below(real)
        if self.is_folder(old) or real in self._symlinks:
            self._folders = {"": ""}  # those below it are in the tree no more
        self._set(real, entry)
        if kind is EntryKind.SYMLINK:
            self._symlinks.add(real)

    def _put_folder(self, path: str, entry: int) -> None:
        real = self._locate(path)
        if real in self._symlinks:
            self._folders = {"": ""}
        self._set(real, entry)

    def _linked_content(self, link: str, aufs: dict[str, int]) -> int:
        self.step(link.count(SEPARATOR))
        parent, separator, name = link.rpartition(SEPARATOR)
        real = self._follow(parent) + separator + name
        return self.content(self.nodes[real]) if real in self.nodes else aufs.get(link, NO_CONTENT)

    def _locate(self, path: str) -> str:
        """The path of an entry in the tree, in a directory, which is made."""
        parent, _, name = path.rpartition(SEPARATOR)
        folder = self._folders.get(parent)
        if folder is None:
            folder = self._make_folder(parent)
        if folder == parent:
            return path
        real = f"{folder}{SEPARATOR}{name}" if folder else name
        self._hold(text_memory(real))
        return real

    def _make_folder(self, path: str) -> str:
        """Where the directory at this path is; made, with those around it, instead of anything else, if there is none."""
        self.step(path.count(SEPARATOR))
        real = self._follow(path)
        above, missing = real, list[str]()
        while above and not self.is_folder(self.nodes.get(above)):
            missing.append(above)
            above = above.rpartition(SEPARATOR)[0]
        for each in reversed(missing):
            self._hold(text_memory(each))
            self._set(each, -len(self.starts))
        if len(self._folders) > _FOLDERS:
            self._folders = {"": ""}
        self._folders[path] = real
        return real

    def _set(self, path: str, node: int | None) -> None:
        """Put a node at a path, instead of what is there; None is nothing."""
        old = self.nodes.get(path)
        self.before.setdefault(path, old)
        self._symlinks.discard(path)
        if (content := self.content(old)) != NO_CONTENT:
            self.uses[content] -= 1
        if (content := self.content(node)) != NO_CONTENT:
            self.uses[content] += 1
        if node is None:
            del self.nodes[path]
            return
        if old is None:
            self._count()
        self.nodes[path] = node

    def _remove_below(self, path: str) -> None:
        """Remove all that is in a directory: what lower layers have there, and what its own has put there by now."""
        if self._order is None:
            self._steps += len(self.nodes) // _SORTED_IN_STEP
            self._order = sorted(self.nodes)
        self._steps += len(self.before) // _SORTED_IN_STEP
        start = path + SEPARATOR
        found = self._order[bisect_left(self._order, start) : bisect_left(self._order, path + _AFTER)] if path else self._order
        for each in [*found, *(each for each in self.before if not path or each.startswith(start))]:
            self.step()
            if each in self.nodes:
                self._set(each, None)

    def _follow(self, path: str) -> str:
        """Where symlinks of the last layer lead on the way to a directory, never out of the root; the path itself if that is nowhere."""
        followed, real, waiting = 0, "", path.split(SEPARATOR)[::-1] if self._symlinks else []
        if not waiting:
            return path
        while waiting:
            name = waiting.pop()
            here = f"{real}{SEPARATOR}{name}" if real else name
            if name == "..":
                real = real.rpartition(SEPARATOR)[0]
            elif here in self._symlinks:
                link = self.entries.links[self.nodes[here]]
                self.step(link.count("/"))
                followed += 1
                if not link or followed > _MOST_LINKS:
                    return path
                if link.startswith("/"):
                    real = ""
                waiting += link.split("/")[::-1]
            elif name not in ("", "."):
                real = here
        return real if len(real) <= MAX_PATH else path

    def _count(self) -> None:
        if self._left % _STEP == 0:
            self._hold(_STEP * _PATH_BYTES)
        self._left -= 1
        if self._left < 0:
            raise TooManyNodes
