"""Layers on top of each other, as the image specification says."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterable, Mapping

import pytest

from stowage.services.archive.file_list import FileList
from stowage.services.archive.layer_files import read_layer_files
from stowage.services.images.file_table import Change
from stowage.services.images.file_tree import TooManyNodes, TooManySteps
from stowage.services.images.layered_files import LayeredFiles, Sum, last_changes, layer_files
from tests.builders import HardLink, Link, make_tar

Members = Mapping[str, bytes | Link | None] | Iterable[tuple[str, bytes | Link | None]]


def listed(members: Members) -> FileList:
    return read_layer_files(iter([make_tar(members, tar_format=tarfile.GNU_FORMAT)]), most=10_000)


def linked(*members: tuple[str, str, int]) -> FileList:
    """A layer of files of so many bytes, and of hard links to others."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, link, size in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = (tarfile.LNKTYPE, link, 0) if link else (tarfile.REGTYPE, "", size)
            archive.addfile(info, io.BytesIO(bytes(size)))
    return read_layer_files(iter([buffer.getvalue()]), most=10_000)


def lists(*layers: Members | FileList) -> list[FileList]:
    return [each if isinstance(each, FileList) else listed(each) for each in layers]


def layered(*layers: Members | FileList) -> LayeredFiles:
    return layer_files(lists(*layers), most=10_000)


def shown(files: LayeredFiles) -> dict[str, tuple[str, int]]:
    """Every path with its kind and its bytes."""
    return {path: (str(files.table.kind(row)), files.table.after[row]) for row, path in files.table.walk()}


def total(files: LayeredFiles) -> Sum:
    return Sum(files.table.files[0], files.table.after[0])


def wasted(files: LayeredFiles) -> dict[str, int]:
    return {path: files.wasted.after[row] for row, path in files.wasted.walk() if files.wasted.listed[row]}


def paths(*layers: Members | FileList) -> list[str]:
    table = layered(*layers).table
    return [path for row, path in table.walk() if table.ends[row] == row + 1]


def changes(*layers: Members | FileList) -> dict[str, tuple[Change | None, int, int]]:
    """What the last layer did."""
    found = last_changes(lists(*layers), most=10_000)
    return {
        path: (found.change(row), found.own(found.before, row), found.own(found.after, row))
        for row, path in found.walk()
        if found.listed[row]
    }


def test_directories_merge_and_files_are_replaced() -> None:
    layers = lists({"d/a": b"1", "d/b": b"22"}, {"d/": None, "d/b": b"333", "d/c": b"4444"})
    files = layered(*layers)
    assert shown(files) == {"d": ("directory", 8), "d/a": ("file", 1), "d/b": ("file", 3), "d/c": ("file", 4)}
    assert total(files) == Sum(3, 8)
    assert changes(*layers) == {"d/b": (Change.CHANGED, 2, 3), "d/c": (Change.ADDED, 0, 4)}


def test_a_whiteout_removes_a_file_or_all_of_a_directory() -> None:
    below = {"a": b"1", "d/e/f": b"22", "d/g": b"333"}
    assert paths(below, {".wh.a": b"", "d/.wh.e": b""}) == ["d/g"]
    layers = lists(below, {".wh.d": b""})
    files = layered(*layers)
    assert sorted(shown(files)) == ["a"]
    assert changes(*layers) == {"d/e/f": (Change.REMOVED, 2, 0), "d/g": (Change.REMOVED, 3, 0)}


@pytest.mark.parametrize("members", [[(".wh.a", b""), ("a", b"new")], [("a", b"new"), (".wh.a", b"")]])
def test_a_whiteout_does_not_remove_what_its_own_layer_has(members: Members) -> None:
    layers = lists({"a": b"1", "b": b"2"}, members)
    files = layered(*layers)
    assert shown(files) == {"a": ("file", 3), "b": ("file", 1)}
    assert changes(*layers) == {"a": (Change.CHANGED, 1, 3)}


def test_a_whiteout_of_nothing_does_nothing() -> None:
    assert paths({"a": b"1"}, {".wh.b": b"", "c/.wh.d": b""}) == ["a"]


@pytest.mark.parametrize("members", [[("d/.wh..wh..opq", b""), ("d/new", b"1")], [("d/new", b"1"), ("d/.wh..wh..opq", b"")]])
def test_an_opaque_directory_hides_only_what_lower_layers_have(members: Members) -> None:
    layers = lists({"d/a": b"1", "d/e/f": b"2", "x": b"3"}, members)
    files = layered(*layers)
    assert sorted(shown(files)) == ["d", "d/new", "x"]
    assert {path: change for path, (change, *_) in changes(*layers).items()} == {
        "d/a": Change.REMOVED,
        "d/e/f": Change.REMOVED,
        "d/new": Change.ADDED,
    }


def test_what_an_opaque_directory_has_again_is_changed_not_removed_and_added() -> None:
    layers = lists({"d/e/a": b"1", "d/e/b": b"2"}, {"d/.wh..wh..opq": b"", "d/e/a": b"11"})
    assert changes(*layers) == {"d/e/a": (Change.CHANGED, 1, 2), "d/e/b": (Change.REMOVED, 1, 0)}


def test_what_a_layer_has_in_an_opaque_directory_stays_whatever_else_it_removes_there() -> None:
    marks = {"d/a/.wh.x": b"", "d/.wh..wh..opq": b"", ".wh.d": b"", ".wh..wh..opq": b""}
    assert paths({"d/a/x": b"1", "d/b": b"2"}, {**marks, "d/a/new": b"3", "d/": None}) == ["d/a/new"]


def test_an_opaque_root_hides_everything() -> None:
    assert paths({"a": b"1", "d/b": b"2"}, {".wh..wh..opq": b"", "c": b"3"}) == ["c"]


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"a/b": b"1"}, {"a": b"22"}, {"a": ("file", 2)}),
        ({"a": b"22"}, {"a/b": b"1"}, {"a": ("directory", 1), "a/b": ("file", 1)}),
        ({"a": b"22"}, {"a/": None}, {"a": ("directory", 0)}),
        ({"usr/lib/x": b"1", "lib": Link("usr/lib")}, {"lib/y": b"2"}, None),
    ],
    ids=["a file on a directory", "a directory on a file", "an empty directory on a file", "a directory on a symlink"],
)
def test_everything_but_a_directory_is_replaced(below: Members, above: Members, expected: object) -> None:
    found = shown(layered(below, above))
    assert found == (
        expected
        or {"usr": ("directory", 1), "usr/lib": ("directory", 1), "usr/lib/x": ("file", 1)}
        | {
            "lib": ("directory", 1),
            "lib/y": ("file", 1),
        }
    )


def test_the_last_entry_of_a_path_wins() -> None:
    files = layered([("a", b"1"), ("a", b"22"), ("d/x", b"3"), ("d", b"4444"), ("e", b"5"), ("e/f", b"6")])
    assert shown(files) == {"a": ("file", 2), "d": ("file", 4), "e": ("directory", 1), "e/f": ("file", 1)}
    assert wasted(files) == {"a": 1, "d/x": 1, "e": 1}


def test_symlinked_directories_are_not_followed() -> None:
    files = layered([("data/big", b"1" * 100), ("link", Link("data")), ("loop", Link("."))])
    assert shown(files)["link"] == ("symlink", 0)
    assert total(files) == Sum(3, 100)
    assert files.table.find("link/big") is None


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([("usr/lib/a", b"1"), ("lib", Link("usr/lib")), ("lib/b", b"22")], ["lib", "usr/lib/a", "usr/lib/b"]),
        ([("lib", Link("usr/lib")), ("lib/b", b"22")], ["lib", "usr/lib/b"]),
        ([("a/lib", Link("/usr/lib")), ("a/lib/b/c", b"22")], ["a/lib", "usr/lib/b/c"]),
        ([("a/lib", Link("../../../x/../usr")), ("a/lib/b", b"22")], ["a/lib", "usr/b"]),
        ([("a", Link("b")), ("b", Link("c/d")), ("a/x", b"1"), ("c/d/y", b"2"), ("a/z", HardLink("b/y"))], [
            "a", "b", "c/d/x", "c/d/y", "c/d/z"
        ]),
        ([("a", Link("b")), ("a/", None), ("a/x", b"1")], ["a/x"]),
        ([("a/x", b"1"), ("a", Link("b"))], ["a"]),
        ([("a", Link("b")), ("b", Link("a")), ("a/x", b"1")], ["a/x", "b"]),
    ],
    ids=["to a directory", "to nothing", "from the root", "not out of it", "link to link", "replaced", "a later link", "in a circle"],
)  # fmt: skip
def test_what_is_below_a_symlink_of_its_own_layer_is_where_that_leads(members: Members, expected: list[str]) -> None:
    assert paths(members) == expected
    assert paths({"below": b""}, members) == sorted([*expected, "below"], key=lambda path: path.split("/"))


def test_following_symlinks_is_limited() -> None:
    hops = [(f"{number}", Link(f"{number + 1}/" + "./" * 40)) for number in range(250)]
    assert len(paths([*hops, ("0/x", b"1")])) == 251
    with pytest.raises(TooManySteps):
        layer_files([listed([*hops, *((f"0/{number}/x", b"") for number in range(500))])], most=1200)
    beyond = "a/" + f"{'m' * 200}/" * 15 + "x"
    assert paths([("a", Link(f"{'n' * 200}/" * 10)), (beyond, b"1")]) == [beyond]


def test_hard_links_count_once() -> None:
    files = layered(linked(("bin/git", "", 500), ("lib/git-add", "bin/git", 0), ("lib/git-rm", "bin/git", 0)))
    assert total(files) == Sum(3, 500)
    assert shown(files)["lib/git-add"] == ("hardlink", 0)


def test_a_hard_link_may_lead_to_a_lower_layer_and_outlive_its_file() -> None:
    files = layered(linked(("a", "", 500)), linked(("b", "a", 0)), {".wh.a": b""})
    assert shown(files) == {"b": ("hardlink", 500)}
    assert wasted(files) == {}
    assert layered(linked(("a", "", 500)), linked(("b", "a", 0)), {".wh.a": b"", ".wh.b": b""}).wasted.after[0] == 500


def test_a_hard_link_to_nothing_has_no_content() -> None:
    assert shown(layered(linked(("a", "gone", 0)))) == {"a": ("hardlink", 0)}


def test_what_aufs_kept_is_only_the_content_of_its_hard_links() -> None:
    files = layered(linked((".wh..wh.plnk/1.2", "", 70), ("a", ".wh..wh.plnk/1.2", 0), ("b", ".wh..wh.plnk/1.2", 0)))
    assert shown(files) == {"a": ("hardlink", 70), "b": ("hardlink", 0)}


def test_wasted_bytes_are_counted_by_path() -> None:
    files = layered(
        {"log": b"1" * 10, "cache/a": b"2" * 100, "cache/b": b"3" * 100, "kept": b"4"},
        {"log": b"1" * 20},
        {"log": b"1" * 30, ".wh.cache": b""},
    )
    assert wasted(files) == {"cache/a": 100, "cache/b": 100, "log": 30}
    row = files.wasted.find("log")
    assert row is not None
    assert (files.wasted.files[row], files.wasted.change(row), files.wasted.change(row - 1)) == (2, None, Change.REMOVED)
    assert [effect.wasted for effect in files.effects] == [Sum(3, 210), Sum(1, 20), Sum(0, 0)]
    assert [effect.content for effect in files.effects] == [Sum(4, 211), Sum(1, 20), Sum(1, 30)]
    assert total(files).bytes == 31


def test_sums_of_what_each_layer_did() -> None:
    files = layered({"a": b"1", "b": b"22", "c": b"333"}, {"a": b"1", "b": b"23", "d": b"4444", ".wh.c": b""})
    assert files.effects[0].changes[Change.ADDED] == Sum(3, 6)
    assert files.effects[1].changes == {
        Change.ADDED: Sum(1, 4),
        Change.CHANGED: Sum(1, 2),
        Change.ATTRIBUTES: Sum(0, 0),
        Change.SAME: Sum(1, 1),
        Change.REMOVED: Sum(1, 3),
    }


def test_a_changed_mode_or_owner_is_not_changed_content() -> None:
    def with_mode(mode: int) -> FileList:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, kind in (("tool", tarfile.REGTYPE), ("d", tarfile.DIRTYPE), ("s", tarfile.SYMTYPE)):
                info = tarfile.TarInfo(name)
                info.mode, info.type, info.linkname = mode, kind, "tool" if kind == tarfile.SYMTYPE else ""
                archive.addfile(info)
        return read_layer_files(iter([buffer.getvalue()]), most=10)

    layers = lists(with_mode(0o644), with_mode(0o755))
    assert {path: change for path, (change, *_) in changes(*layers).items()} == {
        "tool": Change.ATTRIBUTES,
        "d": Change.ATTRIBUTES,
        "s": Change.SAME,
    }


def test_a_layer_may_be_empty() -> None:
    layers = lists({"a": b"1"}, {}, {})
    files = layered(*layers)
    assert sorted(shown(files)) == ["a"]
    assert changes(*layers) == {}


def test_nodes_that_names_imply_are_limited() -> None:
    deep = listed({f"{number}/" + "a/" * 40 + "f": b"" for number in range(30)})
    with pytest.raises(TooManyNodes):
        layer_files([deep], most=1000)
    assert layer_files([deep], most=1400).table.files[0] == 30


def test_memory_of_implied_directories_is_asked_for_and_little_besides() -> None:
    """A few names can imply very many directories, whose whole paths take much more memory than themselves."""
    deep = listed({f"{number}/" + "a/" * 2000 + "f": b"" for number in range(20)})
    asked: list[int] = []
    tracemalloc.start()
    files = layer_files([deep], most=100_000, hold=asked.append)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert files.table.files[0] == 20
    assert peak < 2 * sum(asked) < 40_000 * 2 * 3000


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([("d/e/.wh.a", b""), ("d/.wh.e", b"")], {"d/e/a": Change.REMOVED}),
        ([("d/e/.wh.a", b""), (".wh.d", b""), ("d", b"new")], {"d": Change.CHANGED, "d/b": Change.REMOVED, "d/e/a": Change.REMOVED}),
        ([("d/e/.wh.a", b""), ("d/.wh..wh..opq", b""), ("d/b", b"1")], {"d/b": Change.SAME, "d/e/a": Change.REMOVED}),
        ([("d/e/x", b""), ("d", b"new")], {"d": Change.CHANGED, "d/b": Change.REMOVED, "d/e/a": Change.REMOVED}),
    ],
    ids=["a file and its directory", "a directory that becomes a file", "a file and an opaque directory", "a file that comes and goes"],
)
def test_what_a_layer_did_is_known_however_often_it_touched_a_directory(members: Members, expected: dict[str, Change]) -> None:
    layers = lists({"d/b": b"1", "d/e/a": b"22"}, members)
    assert {path: change for path, (change, *_) in changes(*layers).items()} == expected


def test_an_added_layer_does_not_show_what_the_one_below_it_did() -> None:
    assert changes({"d/a": b"1"}, {"d/b": b"2"}, {"d/c": b"3"}) == {"d/c": (Change.ADDED, 0, 1)}


def test_directories_that_are_gone_through_again_and_again_are_limited() -> None:
    deep = "a/" * 50
    base, layers = listed({deep + "f": b""}), [listed({deep + str(number): b""}) for number in range(250)]
    with pytest.raises(TooManySteps):
        layer_files([base, *layers], most=600)
    assert layer_files([base, *layers[:10]], most=600).table.files[0] == 11


def test_what_is_kept_of_a_tree_is_small() -> None:
    many = listed({f"lib/package-{number // 30}/file-{number}": b"" for number in range(9000)})
    assert layer_files([many], most=20_000).weight < 9000 * 70
    assert last_changes([many], most=20_000).weight < 9000 * 70


def test_putting_layers_on_top_of_each_other_can_be_ended() -> None:
    def check() -> None:
        raise InterruptedError

    many = listed({f"{number}": b"" for number in range(5000)})
    with pytest.raises(InterruptedError):
        layer_files([many], most=10_000, check=check)


def test_the_memory_for_what_a_layer_changes_is_asked_for() -> None:
    base = listed({f"{number}/a": b"" for number in range(3000)})
    asked: list[int] = []
    tracemalloc.start()
    layer_files([base, base], most=10_000, hold=asked.append)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < sum(asked)
