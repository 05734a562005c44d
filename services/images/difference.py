"""Two images, or two platforms of one, side by side: layers, files, settings and history."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

from stowage.services.archive.bounds import text_memory
from stowage.services.archive.file_list import EntryKind
from stowage.services.engine import Engine
from stowage.services.errors import Forbidden, Unsupported
from stowage.services.images.config_difference import HistoryDifference, SettingDifference, compare_configs, compare_histories
from stowage.services.images.file_changes import Change, ChangedFile, find_changes
from stowage.services.images.file_names import possible_paths
from stowage.services.images.file_tree import FileTree
from stowage.services.images.file_views import FileItem, Listing, Row, change_rows, describe, page_of
from stowage.services.images.files import join_problems, read_files
from stowage.services.images.layered_files import LayeredFiles, Sum
from stowage.services.images.platform_image import ImageLayer, PlatformImage, read_platform_image
from stowage.services.kept import Kept
from stowage.services.oci.platform import Platform
from stowage.services.store.look import Look

_KEPT_BYTES = 16 << 20
_CHANGE_BYTES = 200
_AT_ONCE = 4096
_kept: Kept[Hashable, tuple[ChangedFile, ...]] = Kept(_KEPT_BYTES, share=1)
LARGEST = 20
"""How many of the largest differences are told."""


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """Layers of equal content on both sides, in the left one's order, and those that are only on one."""

    same: tuple[ImageLayer, ...]
    left: tuple[ImageLayer, ...]
    right: tuple[ImageLayer, ...]


@dataclass(frozen=True, slots=True)
class FileDifference:
    """The bytes of all files on both sides, sums by change, the largest differences, and a page of `items`, of `total`.

    Directories that are only on one side are one of the largest differences with all that is in them.
    """

    left: Sum
    right: Sum
    changes: dict[Change, tuple[Sum, Sum]]
    largest: tuple[FileItem, ...]
    path: str
    total: int
    items: tuple[FileItem, ...]


@dataclass(frozen=True, slots=True)
class ImageDifference:
    """Two images; `files` is None if one of them has none that can be listed, for which `problem` says why."""

    left: PlatformImage
    right: PlatformImage
    layers: LayerDifference
    settings: tuple[SettingDifference, ...]
    history: HistoryDifference
    files: FileDifference | None
    problem: str


def compare_images(
    engine: Engine,
    left: str,
    right: str,
    *,
    left_platform: Platform | None = None,
    right_platform: Platform | None = None,
    listing: Listing | None = None,
) -> ImageDifference:
    """Compare two images; raises as `list_files` does, but an image without files is compared without them."""
    ours, theirs = read_platform_image(engine, left, left_platform), read_platform_image(engine, right, right_platform)
    files, problem = None, ""
    try:
        files, problem = _compare_files(engine, ours, theirs, listing or Listing())
    except (Unsupported, Forbidden) as exc:
        problem = str(exc)
    return ImageDifference(
        ours,
        theirs,
        _compare_layers(ours.layers, theirs.layers),
        compare_configs(ours.config, theirs.config),
        compare_histories(ours.config, theirs.config),
        files,
        problem,
    )


def _compare_layers(left: Sequence[ImageLayer], right: Sequence[ImageLayer]) -> LayerDifference:
    ours, theirs = {layer.identity for layer in left}, {layer.identity for layer in right}
    return LayerDifference(
        tuple(layer for layer in left if layer.identity in theirs),
        tuple(layer for layer in left if layer.identity not in theirs),
        tuple(layer for layer in right if layer.identity not in ours),
    )


def _compare_files(engine: Engine, left: PlatformImage, right: PlatformImage, listing: Listing) -> tuple[FileDifference, str]:
    """The difference, and a sentence about what is missing from it, if anything."""
    look = Look(engine.limits.listing_seconds)
    ours, theirs = read_files(engine, left, look), read_files(engine, right, look)
    changes = _find_changes(engine, left, ours, right, theirs, look)
    paths = possible_paths(listing.path)
    path = next((path for path in paths if theirs.tree.find(path) or ours.tree.find(path)), paths[0])
    listing = replace(listing, path=path)
    total, page = page_of(change_rows(changes, listing), listing, "-growth")
    _, largest = page_of(_topmost(changes), Listing(limit=LARGEST), "-growth")
    difference = FileDifference(
        _sum(ours),
        _sum(theirs),
        {change: _sums(changes, change) for change in Change if change is not Change.SAME},
        tuple(_describe(row, ours.tree, theirs.tree) for row in largest if row.growth),
        path,
        total,
        tuple(_describe(row, ours.tree, theirs.tree) for row in page),
    )
    return difference, "; ".join(filter(None, (_problem(left, ours), _problem(right, theirs))))


def _find_changes(
    engine: Engine, left: PlatformImage, ours: LayeredFiles, right: PlatformImage, theirs: LayeredFiles, look: Look
) -> tuple[ChangedFile, ...]:
    key = tuple(tuple((layer.descriptor.digest, layer.is_present) for layer in image.layers) for image in (left, right))
    known = _kept.get(key)
    if known is not None:
        return known
    changes: list[ChangedFile] = []
    weight = 0
    with closing(engine.memory.reservation()) as memory:
        differing = find_changes(ours.tree, theirs.tree)
        while some := list(islice(differing, _AT_ONCE)):
            look.operation.check()
            size = sum(_CHANGE_BYTES + text_memory(each.path) for each in some)
            memory.hold(size)
            weight += size
            changes += some
    found = tuple(changes)
    if ours.is_complete and theirs.is_complete:
        _kept.put(key, found, weight)
    return found


def _topmost(changes: Sequence[ChangedFile]) -> list[Row]:
    """The changes, with directories that are only on one side as one each."""
    rows: dict[str, Row] = {}
    for each in changes:
        known = rows.get(each.top)
        before, after, files = (known.before, known.bytes, known.files) if known else (0, 0, 0)
        node = each.node if each.top == each.path else None
        rows[each.top] = Row(each.top, after + each.after, before + each.before, files + 1, each.change, node)
    return list(rows.values())


def _describe(row: Row, left: FileTree, right: FileTree) -> FileItem:
    """An item of the side that has it; a removed one is only on the left."""
    if row.node is None:
        folder = (right if row.change is not Change.REMOVED else left).find(row.path)
        row = row._replace(node=folder if folder and folder.kind is EntryKind.DIRECTORY else None)
    return describe(row, left if row.change is Change.REMOVED else right, is_folder=True)


def _sum(files: LayeredFiles) -> Sum:
    return Sum(files.tree.root.files, files.tree.root.bytes)


def _sums(changes: Sequence[ChangedFile], change: Change) -> tuple[Sum, Sum]:
    """Before and after."""
    found = [each for each in changes if each.change is change]
    return Sum(len(found), sum(each.before for each in found)), Sum(len(found), sum(each.after for each in found))


def _problem(image: PlatformImage, files: LayeredFiles) -> str:
    problems = join_problems(image.layers, (effect.problem for effect in files.effects))
    return problems and f"image {image.name}: {problems}"
