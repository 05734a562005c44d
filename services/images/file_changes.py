"""What differs between two trees of files, as rows of a table: between an image before and after a layer, or between two images.

Content that hard links share counts once, and only if it is new or gone as a whole: what one of two links loses or gets is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from stowage.services.archive.file_list import EntryKind
from stowage.services.images.file_nodes import Difference, compare
from stowage.services.images.file_table import NO_CONTENT, NOT_STATED, Change, Contents, Facts, FileTable
from stowage.services.images.file_table_maker import Row
from stowage.services.images.file_tree import FileTree

Pair = tuple[int, str, int | None, int | None]
"""How many names lead to a path, its last name, and its row in two tables."""


class LayerChange(NamedTuple):
    """What a layer did to a path, if anything, and the bytes before and after."""

    path: Difference
    change: Change | None
    before: int
    after: int


def layer_changes(tree: FileTree) -> Iterator[LayerChange]:
    """What the last layer of a tree did to the files below it, and the directories around them; files that it stored again as they were are
    among them.
    """
    sizes, uses, first, seen = tree.contents.sizes, tree.contents.uses, tree.first_content, {NO_CONTENT}
    for path in compare(tree.before, tree.root, tree.journal):
        before = after = 0
        old, new = path.before, path.after
        if old and old.content not in seen and not uses[old.content]:
            seen.add(old.content)
            before = sizes[old.content]
        if new and new.content not in seen and new.content >= first:
            seen.add(new.content)
            after = sizes[new.content]
        yield LayerChange(path, _layer_change(tree, path), before, after)


def layer_rows(tree: FileTree) -> Iterator[Row]:
    """The same as rows of a table."""
    for (depth, name, old, new), change, before, after in layer_changes(tree):
        was, now = tree.facts(old) if old else None, tree.facts(new) if new else None
        yield _row(depth, name, was, now, before, after, change)


def _layer_change(tree: FileTree, path: Difference) -> Change | None:
    old, new = path.before, path.after
    if old is None or new is None:
        change = Change.ADDED if old is None else Change.REMOVED
    else:
        change = _relation(tree.contents, tree.facts(old), tree.contents, tree.facts(new))
    is_file = (old and old.children is None) or (new and new.children is None)
    return None if not is_file and _says_nothing(change, bool((old and old.children) or (new and new.children))) else change


def find_changes(left: FileTable, right: FileTable) -> Iterator[Row]:
    """Every file that differs between two images; directories only if their attributes differ, or if they are empty."""
    ours, theirs = left.contents, right.contents
    same_left, same_right = _same_contents(left, right)

    def size(contents: Contents, facts: Facts | None, same: set[int]) -> int:
        content = facts.content if facts else NO_CONTENT
        if content == NO_CONTENT or content in same:
            return 0
        same.add(content)
        return contents.sizes[content]

    for depth, name, i, j in _pairs(left, right):
        if i is not None and j is not None and _are_plainly_equal(left, i, right, j):
            continue
        old, new = None if i is None else left.facts(i), None if j is None else right.facts(j)
        change: Change | None = _relation(ours, old, theirs, new)
        is_file = _is_file(old, new)
        if is_file and change is Change.SAME and not _is_linked(ours, old, theirs, new):
            continue
        before, after = size(ours, old, same_left), size(theirs, new, same_right)
        if is_file and change is Change.SAME:
            if before == after:
                continue
            change = Change.CHANGED  # links became copies, or the other way round
        elif not is_file and _says_nothing(change, _has_more(left, i) or _has_more(right, j)):
            change = None
        yield _row(depth, name, old, new, before, after, change)


def _row(depth: int, name: str, old: Facts | None, new: Facts | None, before: int, after: int, change: Change | None) -> Row:
    """A path that differs, or without a change a directory around others."""
    was, now = (facts is not None and facts.kind is EntryKind.DIRECTORY for facts in (old, new))
    facts = new or old
    if facts is None:
        raise AssertionError("a path is nowhere")
    shown = change or (None if was is now else Change.REMOVED if was else Change.ADDED)
    files = 1 if change and facts.kind is not EntryKind.DIRECTORY else 0
    return Row(depth, name, facts, after, before, shown, files, change is not None, change is None, was is not now)


def _is_file(old: Facts | None, new: Facts | None) -> bool:
    """Whether one of the sides is anything but a directory."""
    return any(facts and facts.kind is not EntryKind.DIRECTORY for facts in (old, new))


def _says_nothing(change: Change | None, has_more: bool) -> bool:
    """Whether a directory is only around others: what is in it says that it is there on one side."""
    return change is Change.SAME or (change is not Change.ATTRIBUTES and has_more)


def _relation(ours: Contents, old: Facts | None, theirs: Contents, new: Facts | None) -> Change:
    if old is None or new is None:
        return Change.ADDED if old is None else Change.REMOVED
    if _form(old) is not _form(new) or _substance(ours, old) != _substance(theirs, new):
        return Change.CHANGED
    if NOT_STATED in (old.mode, new.mode) or _rights(old) == _rights(new):
        return Change.SAME
    return Change.ATTRIBUTES


def _form(facts: Facts) -> EntryKind:
    """The kind of a path; a hard link to a file is a file."""
    return EntryKind.FILE if facts.content != NO_CONTENT else facts.kind


def _substance(contents: Contents, facts: Facts) -> object:
    """What a path is, apart from its attributes."""
    return contents.substance(facts.content) if facts.content != NO_CONTENT else facts.link


def _rights(facts: Facts) -> tuple[int, int, int]:
    return 0 if facts.kind is EntryKind.SYMLINK else facts.mode, facts.uid, facts.gid


def _is_linked(ours: Contents, old: Facts | None, theirs: Contents, new: Facts | None) -> bool:
    """Whether another path leads to the content on one of the sides."""
    sides = ((ours, old), (theirs, new))
    return any(facts and facts.content != NO_CONTENT and contents.uses[facts.content] > 1 for contents, facts in sides)


def _same_contents(left: FileTable, right: FileTable) -> tuple[set[int], set[int]]:
    """The contents with several links that stay, on both sides: those that a path leads to which does not change, each with another one."""
    ours, theirs = left.contents, right.contents
    same_left, same_right = set[int](), set[int]()
    if max(ours.uses, default=0) <= 1 and max(theirs.uses, default=0) <= 1:
        return same_left, same_right
    for _, _, i, j in _pairs(left, right):
        if i is None or j is None or NO_CONTENT in (content := (left.numbers[i], right.numbers[j])):
            continue
        if content[0] in same_left or content[1] in same_right or max(ours.uses[content[0]], theirs.uses[content[1]]) <= 1:
            continue
        if _relation(ours, left.facts(i), theirs, right.facts(j)) is Change.SAME:
            same_left.add(content[0])
            same_right.add(content[1])
    return same_left, same_right


def _are_plainly_equal(left: FileTable, i: int, right: FileTable, j: int) -> bool:
    """Whether these are files without other links that are equal: most are, so this is quick."""
    old, new = left.numbers[i], right.numbers[j]
    ours, theirs = left.contents, right.contents
    return (
        old != NO_CONTENT != new
        and ours.checksums[old] == theirs.checksums[new]
        and ours.sizes[old] == theirs.sizes[new]
        and left.modes[i] == right.modes[j]
        and left.uids[i] == right.uids[j]
        and left.gids[i] == right.gids[j]
        and ours.uses[old] == theirs.uses[new] == 1
    )


def _has_more(table: FileTable, row: int | None) -> bool:
    return row is not None and table.ends[row] > row + 1


def _pairs(left: FileTable, right: FileTable) -> Iterator[Pair]:
    """The paths of two tables in the order of a walk."""
    ways = [_children(left, 0, right, 0)]
    while ways:
        for name, i, j in ways[-1]:
            yield len(ways), name, i, j
            if _has_more(left, i) or _has_more(right, j):
                ways.append(_children(left, i, right, j))
                break
        else:
            ways.pop()


def _children(left: FileTable, i: int | None, right: FileTable, j: int | None) -> Iterator[tuple[str, int | None, int | None]]:
    """The names in two directories, or in one."""
    ours = {} if i is None else {left.name(row): row for row in left.children(i)}
    theirs = {} if j is None else {right.name(row): row for row in right.children(j)}
    for name in sorted(ours.keys() | theirs.keys()):
        yield name, ours.get(name), theirs.get(name)
