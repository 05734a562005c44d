"""What differs between two trees of files: between an image before and after a layer, or between two images."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from stowage.services.archive.file_list import EntryKind
from stowage.services.images.file_nodes import IMPLIED, NO_CONTENT, NO_JOURNAL, Journal, Node, compare
from stowage.services.images.file_tree import FileTree


class Change(StrEnum):
    """How a path differs. `attributes` is only its mode or its owner; `same` is stored again as it was."""

    ADDED = "added"
    CHANGED = "changed"
    ATTRIBUTES = "attributes"
    SAME = "same"
    REMOVED = "removed"


class ChangedFile(NamedTuple):
    """A path that differs, with its bytes before and after; `top` is the uppermost directory around it that is only on one side.

    Content that hard links share counts once. `node` is the one after the change, or else the one before.
    """

    path: str
    change: Change
    before: int
    after: int
    node: Node
    top: str


def find_changes(left: FileTree, right: FileTree) -> Iterator[ChangedFile]:
    """Every file that differs between two trees; directories only if their attributes differ, or if they are empty."""
    return _find(left, left.root, right, NO_JOURNAL)


def last_changes(tree: FileTree) -> Iterator[ChangedFile]:
    """What the last layer of a tree did, likewise; files that it stored again as they were are among them."""
    return _find(tree, tree.before, tree, tree.journal)


def _find(old: FileTree, before: Node, new: FileTree, journal: Journal) -> Iterator[ChangedFile]:
    seen_before, seen_after = set[int](), set[int]()
    for path, left, right, top in compare(before, new.root, journal):
        change = _relation(old, left, new, right)
        node = right or left
        if node is None or _is_silent(left, right, change, in_one_tree=old is new):
            continue
        yield ChangedFile(path, change, _bytes(old, left, seen_before), _bytes(new, right, seen_after), node, top)


def _is_silent(left: Node | None, right: Node | None, change: Change, *, in_one_tree: bool) -> bool:
    """Whether a difference is not told: other differences tell of directories that are not empty."""
    if any(node is not None and node.children is None for node in (left, right)):
        return change is Change.SAME and not in_one_tree
    return change is Change.SAME or (change is not Change.ATTRIBUTES and any(node and node.children for node in (left, right)))


def _relation(old: FileTree, left: Node | None, new: FileTree, right: Node | None) -> Change:
    if left is None or right is None:
        return Change.ADDED if left is None else Change.REMOVED
    if _form(left) is not _form(right) or _substance(old, left) != _substance(new, right):
        return Change.CHANGED
    if IMPLIED in (left.entry, right.entry) or _rights(old, left) == _rights(new, right):
        return Change.SAME
    return Change.ATTRIBUTES


def _form(node: Node) -> EntryKind:
    """The kind of a node; a hard link to a file is a file."""
    return EntryKind.FILE if node.content != NO_CONTENT else node.kind


def _substance(tree: FileTree, node: Node) -> object:
    """What a node is, apart from its attributes."""
    if node.content != NO_CONTENT:
        return tree.sizes[node.content], tree.checksums[node.content]
    return tree.lists[node.layer].links[node.entry] if node.children is None else None


def _rights(tree: FileTree, node: Node) -> tuple[int, int, int]:
    listed = tree.lists[node.layer]
    mode = 0 if node.kind is EntryKind.SYMLINK else listed.modes[node.entry]
    return mode, listed.uids[node.entry], listed.gids[node.entry]


def _bytes(tree: FileTree, node: Node | None, seen: set[int]) -> int:
    if node is None or node.content == NO_CONTENT or node.content in seen:
        return 0
    seen.add(node.content)
    return tree.sizes[node.content]
