"""Differences between two trees of files, as rows of a table: between an image before and after a layer, or between two images.

Content that hard links share counts once, and only if the last of them is gone or the first one is new.
"""

from __future__ import annotations

from collections.abc import Iterator

from stowage.services.archive.file_list import EntryKind
from stowage.services.images.file_table import NO_CONTENT, NOT_STATED, SEPARATOR, Change, Facts, FileTable, Row

Pair = tuple[str, int | None, int | None]
"""A path and its row in two tables."""


def change_of(old: Facts | None, new: Facts | None, *, has_more: bool) -> Change | None:
    """How a path differs. None for a directory that is only around others: what is in it says that it is there on one side."""
    if old is None or new is None:
        change = Change.ADDED if old is None else Change.REMOVED
    elif _substance(old) != _substance(new):
        change = Change.CHANGED
    elif NOT_STATED in (old.mode, new.mode) or _rights(old) == _rights(new):
        change = Change.SAME
    else:
        change = Change.ATTRIBUTES
    is_folder = all(facts is None or facts.kind is EntryKind.DIRECTORY for facts in (old, new))
    return None if is_folder and (change is Change.SAME or (change is not Change.ATTRIBUTES and has_more)) else change


def row_of(path: str, old: Facts | None, new: Facts | None, change: Change | None = None, before: int = 0, after: int = 0) -> Row:
    """A path that differs, or without a change a directory around others."""
    was, now = (facts is not None and facts.kind is EntryKind.DIRECTORY for facts in (old, new))
    facts = new or old
    if facts is None:
        raise AssertionError("a path is nowhere")
    shown = change or (None if was is now else Change.REMOVED if was else Change.ADDED)
    files = 1 if change and facts.kind is not EntryKind.DIRECTORY else 0
    return Row(path, facts, after, before, files, shown, is_listed=change is not None, is_whole=was is not now)


def find_changes(left: FileTable, right: FileTable) -> Iterator[Row]:
    """Every file that differs between two images, and directories whose attributes differ or that are empty; the directories around them
    come before.
    """
    counted_left, counted_right = _same_contents(left, right)
    around: list[Pair] = []
    """Directories on the way that nothing in them has shown yet."""
    for path, i, j in _pairs(left, right):
        if i is not None and j is not None and _are_plainly_equal(left, i, right, j):
            continue
        while around and not path.startswith(around[-1][0] + SEPARATOR):
            around.pop()
        old, new = None if i is None else left.facts(i), None if j is None else right.facts(j)
        change = change_of(old, new, has_more=_has_more(left, i) or _has_more(right, j))
        is_linked = i in left.shared or j in right.shared
        if change is Change.SAME and not is_linked:
            continue
        before, after = _count(left, i, old, counted_left), _count(right, j, new, counted_right)
        if change is Change.SAME:
            if before == after:
                continue
            change = Change.CHANGED  # links became copies, or the other way round
        if change is None:
            around.append((path, i, j))
            continue
        for folder, each, other in around:
            yield row_of(folder, None if each is None else left.facts(each), None if other is None else right.facts(other))
        around.clear()
        yield row_of(path, old, new, change, before, after)


def _count(table: FileTable, row: int | None, facts: Facts | None, counted: set[int]) -> int:
    """The bytes of a path's content, unless another path with it has been counted."""
    if row is None or facts is None:
        return 0
    content = table.shared.get(row, row)
    if content in counted:
        return 0
    if row in table.shared:
        counted.add(content)
    return facts.size


def _substance(facts: Facts) -> object:
    """What a path is, apart from its attributes; a hard link to a file is a file."""
    return (facts.kind, facts.link) if facts.checksum == NO_CONTENT else (facts.size, facts.checksum)


def _rights(facts: Facts) -> tuple[int, int, int]:
    return 0 if facts.kind is EntryKind.SYMLINK else facts.mode, facts.uid, facts.gid


def _same_contents(left: FileTable, right: FileTable) -> tuple[set[int], set[int]]:
    """The contents with several links that stay, on both sides: those that a path leads to which does not change, each with another one."""
    same_left, same_right = set[int](), set[int]()
    if not left.shared and not right.shared:
        return same_left, same_right
    for _, i, j in _pairs(left, right):
        if i is None or j is None or (i not in left.shared and j not in right.shared):
            continue
        ours, theirs = left.shared.get(i, i), right.shared.get(j, j)
        old, new = left.facts(i), right.facts(j)
        if NO_CONTENT in (old.checksum, new.checksum) or ours in same_left or theirs in same_right:
            continue
        if change_of(old, new, has_more=False) is Change.SAME:
            same_left.add(ours)
            same_right.add(theirs)
    return same_left, same_right


def _are_plainly_equal(left: FileTable, i: int, right: FileTable, j: int) -> bool:
    """Whether these are files without other links that are equal: most are, so this is quick."""
    checksum = left.checksums[i]
    return (
        checksum == right.checksums[j] != NO_CONTENT
        and left.after[i] == right.after[j]
        and left.modes[i] == right.modes[j]
        and left.uids[i] == right.uids[j]
        and left.gids[i] == right.gids[j]
        and i not in left.shared
        and j not in right.shared
    )


def _has_more(table: FileTable, row: int | None) -> bool:
    return row is not None and table.ends[row] > row + 1


def _pairs(left: FileTable, right: FileTable) -> Iterator[Pair]:
    """The paths of two tables, merged in their order."""
    ours, theirs = left.walk(separator=SEPARATOR), right.walk(separator=SEPARATOR)
    one, other = next(ours, None), next(theirs, None)
    while one or other:
        if one and other and one[1] == other[1]:
            yield one[1], one[0], other[0]
            one, other = next(ours, None), next(theirs, None)
        elif one and (not other or one[1] < other[1]):
            yield one[1], one[0], None
            one = next(ours, None)
        elif other:
            yield other[1], None, other[0]
            other = next(theirs, None)
