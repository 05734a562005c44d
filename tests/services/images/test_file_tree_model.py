"""Trees of random layers beside a model that is slow and plain: a dictionary of paths, changed entry by entry."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st

from stowage.services.archive.file_list import FileList
from stowage.services.archive.layer_files import read_layer_files
from stowage.services.images.file_changes import find_changes
from stowage.services.images.file_table import Change, FileTable, make_table
from stowage.services.images.layered_files import last_changes, layer_files

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)
KINDS = st.sampled_from(["file", "directory", "symlink", "whiteout", "opaque"])
ENTRIES = st.tuples(KINDS, PATHS, st.integers(0, 9))
LINKED = ("a", "b", "a/b", "c")
LINKS = st.tuples(st.sampled_from(["file", "hardlink", "hardlink", "directory", "whiteout", "opaque"]), PATHS, st.integers(0, 9))
LINKED_LAYERS = st.lists(st.lists(LINKS, max_size=8), min_size=1, max_size=4)
LAYERS = st.lists(st.lists(ENTRIES, max_size=8), max_size=5)

Entries = list[tuple[str, str, int]]
Model = dict[str, int | None]
"""Paths with the bytes of what is there; a directory has None."""


def tar_of(entries: Entries) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind, path, size in entries:
            folder, _, name = path.rpartition("/")
            info = tarfile.TarInfo({"whiteout": f"{folder}/.wh.{name}", "opaque": f"{path}/.wh..wh..opq"}.get(kind, path))
            info.type = {"directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}.get(kind, tarfile.REGTYPE)
            info.linkname = LINKED[size % len(LINKED)] if kind == "hardlink" else ""
            info.size = size if kind == "file" else 0
            info.uid = size % 2
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


def lists_of(layers: list[Entries]) -> list[FileList]:
    return [read_layer_files(iter([tar_of(entries)]), most=100) for entries in layers]


def own_sums(table: FileTable, row: int) -> tuple[int, int]:
    """The bytes of a path before and after, without those of what is in it."""
    return table.own(table.before, row), table.own(table.after, row)


def remove_below(model: Model, path: str) -> None:
    for each in [each for each in model if each.startswith(f"{path}/")]:
        del model[each]


def make_folders(model: Model, path: str) -> None:
    """Every directory on the way to a path; anything else there makes room."""
    parts = path.split("/")
    for number in range(1, len(parts)):
        model.setdefault("/".join(parts[:number]), None)
        if model["/".join(parts[:number])] is not None:
            model["/".join(parts[:number])] = None


def apply(model: Model, entries: Entries) -> None:
    for kind, path, _ in entries:
        if kind in ("whiteout", "opaque"):
            remove_below(model, path)
        if kind == "whiteout":
            model.pop(path, None)
    for kind, path, size in entries:
        if kind in ("file", "symlink", "directory"):
            make_folders(model, path)
            if kind != "directory":
                remove_below(model, path)
                model[path] = size if kind == "file" else 0
            elif model.get(path) is not None or path not in model:
                model[path] = None


@given(LAYERS)
@settings(max_examples=400)
def test_a_tree_is_what_the_model_is(layers: list[Entries]) -> None:
    model: Model = {}
    stored = 0
    for entries in layers:
        apply(model, entries)
        stored += sum(size for kind, _, size in entries if kind == "file")
    files = layer_files(lists_of(layers), most=1000)
    table = files.table
    assert {path: None if table.is_directory(row) else table.after[row] for row, path in table.walk()} == model
    seen = sum(size or 0 for size in model.values())
    assert (table.after[0], files.wasted.after[0]) == (seen, stored - seen)
    assert table.files[0] == sum(size is not None for size in model.values())


@given(LAYERS.filter(bool))
@settings(max_examples=400)
def test_what_the_last_layer_did_is_the_difference_of_the_models(layers: list[Entries]) -> None:
    before: Model = {}
    for entries in layers[:-1]:
        apply(before, entries)
    after = dict(before)
    apply(after, layers[-1])
    found = last_changes(lists_of(layers), most=1000)
    changed = {path: own_sums(found, row) for row, path in found.walk() if found.listed[row]}
    for path in before.keys() | after.keys():
        ours, theirs = before.get(path), after.get(path)
        if ours != theirs and not (ours is None and theirs is None):
            assert changed[path] == (ours or 0, theirs or 0)


@given(LINKED_LAYERS)
@settings(max_examples=400)
def test_with_hard_links_what_layers_did_adds_up(layers: list[Entries]) -> None:
    lists, before = lists_of(layers), 0
    files = layer_files(lists, most=1000)
    for number, effect in enumerate(files.effects, 1):
        table, after = last_changes(lists[:number], most=1000), layer_files(lists[:number], most=1000).table.after[0]
        assert table.after[0] - table.before[0] == after - before
        own = [(table.change(row), *own_sums(table, row)) for row in range(len(table)) if table.listed[row]]
        for change in Change:
            sizes = [old if change is Change.REMOVED else new for each, old, new in own if each is change]
            assert (effect.changes[change].files, effect.changes[change].bytes) == (len(sizes), sum(sizes))
        in_it_twice = layer_files(lists[:number], most=1000).effects[-1].wasted.bytes
        assert sum(new for _, _, new in own) == effect.content.bytes - in_it_twice
        before = after
    assert sum(effect.wasted.bytes for effect in files.effects) == files.wasted.after[0]
    assert sum(effect.content.bytes for effect in files.effects) == files.table.after[0] + files.wasted.after[0]


@given(LINKED_LAYERS, LINKED_LAYERS)
@settings(max_examples=600)
def test_with_hard_links_what_differs_adds_up(left: list[Entries], right: list[Entries]) -> None:
    ours, theirs = (layer_files(lists_of(layers), most=1000).table for layers in (left, right))
    table = make_table(find_changes(ours, theirs))
    assert table.after[0] - table.before[0] == theirs.after[0] - ours.after[0]
    assert 0 <= table.before[0] <= ours.after[0]
    assert len(table) == 1 or left != right


@given(st.lists(ENTRIES, max_size=8), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6), st.integers(1, 2000))
@settings(max_examples=300)
def test_a_damaged_archive_gives_a_list_and_a_tree_all_the_same(entries: Entries, damage: list[tuple[int, int]], piece: int) -> None:
    raw = bytearray(tar_of(entries))
    for position, value in damage:
        raw[position % len(raw)] = value
    pieces = (bytes(raw[start : start + piece]) for start in range(0, len(raw), piece))
    found = read_layer_files(pieces, most=100)
    assert type(found).parse(found.dump()).paths == found.paths
    layer_files([found, found], most=10_000)
