"""The files of an image, of one platform: all of them as they are seen, or what one layer did.

The lists of layers are kept (services/store/layer_files.py), and the tables that are made of them are cached in each process, the most
recently used ones. One thread at a time makes a table, which takes seconds for an image of very many files.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TypeVar

from stowage.services.archive.file_list import FileList
from stowage.services.budget import Reservation
from stowage.services.engine import Engine
from stowage.services.errors import BlobNotFound, Damaged, Forbidden, InvalidParameter, NotFound, Unsupported
from stowage.services.images.file_table import Change, FileTable
from stowage.services.images.file_tree import TooManyNodes, TooManySteps
from stowage.services.images.file_views import FileItem, Listing, list_rows, show_path
from stowage.services.images.layered_files import LayeredFiles, LayerEffect, Sum, last_changes, layer_files
from stowage.services.images.platform_image import ImageLayer, PlatformImage, read_platform_image
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.store.layer_files import list_layer_files
from stowage.services.store.look import Look, find_once

_MORE_NODES = 1000
_PROBLEMS = 20

Made = TypeVar("Made")


class View(StrEnum):
    """A view: the entries of a directory, all files below it, or the paths with wasted bytes."""

    TREE = "tree"
    FLAT = "flat"
    WASTED = "wasted"


@dataclass(frozen=True, slots=True)
class ShownLayer:
    """A layer and what it did; the latter is None if it was not looked at, because the image has too many files."""

    layer: ImageLayer
    effect: LayerEffect | None

    @property
    def content(self) -> Sum | None:
        """All that it stores."""
        return self.effect.content if self.effect else None

    @property
    def wasted(self) -> Sum | None:
        """What of that no path of the image leads to."""
        return self.effect.wasted if self.effect else None

    @property
    def problem(self) -> str:
        """What of its files is missing, as a sentence; empty if nothing is."""
        return self.effect.problem if self.effect else ""

    @property
    def again(self) -> Sum | None:
        """What it stored again, with another mode or owner or as it was."""
        if self.effect is None:
            return None
        sums = [self.effect.changes[change] for change in (Change.ATTRIBUTES, Change.SAME)]
        return Sum(sum(each.files for each in sums), sum(each.bytes for each in sums))

    def did(self, change: Change) -> Sum | None:
        """What it did in this way."""
        return self.effect.changes[change] if self.effect else None


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """A page of items, of `total`, and what is known of the whole image. `layer` is the number of the layer that the items are about.

    `problem` says what is missing from the whole, if anything.
    """

    image: PlatformImage
    layers: tuple[ShownLayer, ...]
    sum: Sum
    wasted: Sum
    layer: int | None
    path: str
    total: int
    items: tuple[FileItem, ...]
    problem: str


def list_files(
    engine: Engine,
    name: str,
    *,
    platform: Platform | None = None,
    layer: str = "",
    view: View = View.TREE,
    listing: Listing | None = None,
) -> ImageFiles:
    """List files of an image, or, with the number or the digest of a layer, what that layer added, changed and removed.

    Reads each layer that nobody has looked into before. Raises ImageNotFound, NotFound for a platform, a layer or a path that is not
    there, Unsupported for what has no layers of files, InvalidParameter, Forbidden for more files or more time than the settings allow,
    Damaged, and what its operation raises when it has ended.
    """
    listing, look = replace(listing or Listing(), flat=view is View.FLAT), Look(engine.limits.listing_seconds)
    image = read_platform_image(engine, name, platform)
    number = image.find_layer(layer) if layer else None
    if number is None:
        return _list_whole(image, read_files(engine, image, look), view, listing)
    if view is View.WASTED:
        raise InvalidParameter("bytes are wasted in a whole image: leave out the layer")
    return _list_layer(engine, image, number, listing, look)


def read_files(engine: Engine, image: PlatformImage, look: Look) -> LayeredFiles:
    """The files of an image; raises as `list_files` does."""
    return _read(engine, image, image.layers, look)


def _list_whole(image: PlatformImage, files: LayeredFiles, view: View, listing: Listing) -> ImageFiles:
    listing = listing.locate(files.table, files.wasted)
    if view is View.WASTED:
        total, items = list_rows(files.wasted, replace(listing, flat=True), "-size")
    elif files.table.find(listing.path) is None:
        raise NotFound(f"image {image.name} has no file {show_path(listing.path)}")
    else:
        total, items = list_rows(files.table, listing, "-size")
    return _answer(image, files, files.effects, None, listing.path, total, items)


def _list_layer(engine: Engine, image: PlatformImage, number: int, listing: Listing, look: Look) -> ImageFiles:
    """What one layer did; if the image has too many files for a tree, what is in that layer alone."""
    effects: tuple[LayerEffect | None, ...]
    layers = image.layers[: number + 1]
    try:
        whole = read_files(engine, image, look)
        effects = whole.effects
    except Forbidden:
        layers = layers[number:]
        whole = _read(engine, image, layers, look)
        effects = (*[None] * number, whole.effects[0], *[None] * (len(image.layers) - number - 1))
    effect = effects[number]
    if effect and effect.problem and not effect.entries:
        raise Unsupported(f"layer {image.layers[number].descriptor.digest} cannot be listed: {effect.problem}")
    make = partial(_make, engine, image, layers, look, last_changes)
    changes: FileTable = find_once(("changes", *key_of(engine, layers)), look, "the layer", make)
    listing = listing.locate(changes, whole.table)
    total, items = list_rows(changes, listing, "-size")
    return _answer(image, whole, effects, number, listing.path, total, items)


def join_problems(problems: Sequence[str]) -> str:
    """The first problems of layers, of which those without one have an empty text, and how many more there are."""
    found = [f"layer {number} of {len(problems)}: {problem}" for number, problem in enumerate(problems, 1) if problem]
    more = [f"and {len(found) - _PROBLEMS} more layers"] if len(found) > _PROBLEMS else []
    return "; ".join(found[:_PROBLEMS] + more)


def _answer(
    image: PlatformImage,
    files: LayeredFiles,
    effects: tuple[LayerEffect | None, ...],
    layer: int | None,
    path: str,
    total: int,
    items: Sequence[FileItem],
) -> ImageFiles:
    layers = tuple(map(ShownLayer, image.layers, effects))
    problem = join_problems([shown.problem for shown in layers])
    return ImageFiles(image, layers, sum_of(files.table), sum_of(files.wasted), layer, path, total, tuple(items), problem)


def sum_of(table: FileTable) -> Sum:
    """All files of a table."""
    return Sum(table.files[0], table.after[0])


def _read(engine: Engine, image: PlatformImage, layers: Sequence[ImageLayer], look: Look) -> LayeredFiles:
    make = partial(_make, engine, image, layers, look, layer_files)
    return find_once(("files", *key_of(engine, layers)), look, "the image", make)


def key_of(engine: Engine, layers: Sequence[ImageLayer]) -> tuple[Hashable, ...]:
    """What the files of layers depend on."""
    return tuple((layer.descriptor.digest, layer.is_present) for layer in layers), engine.limits.listed_entries


def _make(engine: Engine, image: PlatformImage, layers: Sequence[ImageLayer], look: Look, make: Callable[..., Made]) -> tuple[Made, bool]:
    """What `make` makes of the lists of layers, and whether every layer was read, so that the next look finds the same."""
    most = engine.limits.listed_entries
    with closing(Reservation(engine.memory)) as memory:
        lists = _list_layers(engine, image, layers, look, memory.hold)
        if len(layers) == len(image.layers):
            _refuse_no_files(image, lists)
        try:
            made = make(lists, most=2 * most + _MORE_NODES, hold=memory.hold, check=look.operation.check)
            return made, all(listed.most for listed in lists)
        except TooManyNodes:
            raise _too_many(image, most) from None
        except TooManySteps:
            raise _too_deep(image) from None


def _list_layers(
    engine: Engine, image: PlatformImage, layers: Sequence[ImageLayer], look: Look, hold: Callable[[int], None]
) -> list[FileList]:
    """The list of each layer; a layer that is there several times is read once."""
    most = engine.limits.listed_entries
    lists: list[FileList] = []
    known: dict[Digest, FileList] = {}
    entries = 0
    for layer in layers:
        look.operation.check()
        digest = layer.descriptor.digest
        if digest not in known:
            known[digest] = _list_layer_files(engine, layer, look, hold, alone=len(layers) == 1)
        lists.append(known[digest])
        entries += len(lists[-1])
        if entries > most:
            raise _too_many(image, most)
    return lists


def _list_layer_files(engine: Engine, layer: ImageLayer, look: Look, hold: Callable[[int], None], *, alone: bool) -> FileList:
    """The list of a layer, or an empty one that says why it cannot be read now."""
    if not layer.is_present:
        return FileList(problem=layer.absence, is_cut=True, is_tar=False, most=1)
    try:
        return list_layer_files(engine, layer.descriptor.digest, look, hold=hold)
    except (BlobNotFound, Damaged, Forbidden) as exc:
        if alone:
            raise
        return FileList(problem=str(exc), is_cut=True)


def _refuse_no_files(image: PlatformImage, lists: Sequence[FileList]) -> None:
    """Refuse an artifact, whose layers hold no files."""
    if lists and not any(listed.is_tar for listed in lists):
        first = image.layers[0].descriptor
        raise Unsupported(
            f"image {image.name} has no layers that are archives of files: layer {first.digest} ({first.media_type}): {lists[0].problem}"
        )


def _too_many(image: PlatformImage, most: int) -> Forbidden:
    return Forbidden(f"image {image.name} has more than {most} files; look at its layers one by one, or raise STOWAGE_LISTED_ENTRIES")


def _too_deep(image: PlatformImage) -> Forbidden:
    return Forbidden(
        f"image {image.name} has too many layers with too deep directories to put them on top of each other; look at its layers one by one"
    )
