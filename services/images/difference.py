"""Two images, or two platforms of one, side by side: layers, files, settings and history."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import orjson

from stowage.services.budget import Reservation
from stowage.services.engine import Engine
from stowage.services.errors import Forbidden, Unsupported
from stowage.services.images.file_changes import find_changes
from stowage.services.images.file_table import Change, FileTable, Row, make_table
from stowage.services.images.file_views import FileItem, Listing, describe, list_rows, sort_rows
from stowage.services.images.files import join_problems, key_of, read_files, sum_of
from stowage.services.images.layered_files import LayeredFiles, Sum
from stowage.services.images.platform_image import ImageLayer, PlatformImage, read_platform_image
from stowage.services.oci.config import ContainerConfig, History, ImageConfig
from stowage.services.oci.platform import Platform
from stowage.services.store.look import Look, find_once

_AT_ONCE = 4096
_ITEMS_BYTES = 20_000
_MOST = 0.9
_SHOWN = tuple(change for change in Change if change is not Change.SAME)
LARGEST = 20
"""How many of the largest differences are shown."""


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """Layers of equal content on both sides, in the left one's order, and those that are only on one."""

    same: tuple[ImageLayer, ...]
    left: tuple[ImageLayer, ...]
    right: tuple[ImageLayer, ...]


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """A setting that differs. `key` is a variable's, label's, port's or volume's, empty for others; None where there is none."""

    field: str
    key: str
    left: str | None
    right: str | None


@dataclass(frozen=True, slots=True)
class HistoryDifference:
    """The number of equal first steps, and the steps after them."""

    same: int
    left: tuple[History, ...]
    right: tuple[History, ...]


@dataclass(frozen=True, slots=True)
class FileDifference:
    """The bytes of all files on both sides, sums by change, the largest differences, and a page of `items`, of `total`.

    Directories that are only on one side are one of the largest differences with all that is in them. `place` is the directory that has
    most of what grew and shrank, if there is one.
    """

    left: Sum
    right: Sum
    changes: dict[Change, tuple[Sum, Sum]]
    largest: tuple[FileItem, ...]
    place: FileItem | None
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


@dataclass(frozen=True, slots=True)
class _Changes:
    """A comparison, as it is cached."""

    table: FileTable
    sums: dict[Change, tuple[Sum, Sum]]
    largest: tuple[FileItem, ...]
    place: FileItem | None

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        return self.table.weight + _ITEMS_BYTES


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
        _compare_configs(ours.config, theirs.config),
        _compare_histories(ours.config, theirs.config),
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
    key = "difference", *key_of(engine, left.layers), *key_of(engine, right.layers)
    changes = find_once(key, look, "the two images", partial(_find_changes, engine, ours, theirs, look))
    listing = listing.locate(changes.table, theirs.table, ours.table)
    total, items = list_rows(changes.table, listing, "-growth")
    sums = sum_of(ours.table), sum_of(theirs.table)
    difference = FileDifference(*sums, changes.sums, changes.largest, changes.place, listing.path, total, tuple(items))
    return difference, "; ".join(filter(None, (_problem(left, ours), _problem(right, theirs))))


def _find_changes(engine: Engine, ours: LayeredFiles, theirs: LayeredFiles, look: Look) -> tuple[_Changes, bool]:
    def checked() -> Iterator[Row]:
        for number, row in enumerate(find_changes(ours.table, theirs.table)):
            yield row
            if number % _AT_ONCE == 0:
                look.operation.check()

    with closing(Reservation(engine.memory)) as memory:
        return _sum_up(make_table(checked(), memory.hold)), ours.is_complete and theirs.is_complete


def _sum_up(table: FileTable) -> _Changes:
    """Sums of changes, those that made the image grow or shrink most, and where most of them are."""
    files, before, after = Counter[Change | None](), Counter[Change | None](), Counter[Change | None]()
    moved = array("q", bytes(8 * len(table)))
    for row in range(len(table) - 1, 0, -1):
        if table.listed[row]:
            old, new = table.own(table.before, row), table.own(table.after, row)
            moved[row] += abs(new - old)
            change = table.change(row)
            files[change] += 1
            before[change] += old
            after[change] += new
        moved[table.parents[row]] += moved[row]
    sums: dict[Change, tuple[Sum, Sum]] = {
        change: (Sum(files[change], before[change]), Sum(files[change], after[change])) for change in _SHOWN
    }
    return _Changes(table, sums, _largest(table), _place(table, moved))


def _largest(table: FileTable) -> tuple[FileItem, ...]:
    """What differs most; directories that are only on one side are one each."""
    rows = array("q")
    row = 1
    while row < len(table):
        if table.listed[row] or table.whole[row]:
            rows.append(row)
        row = table.ends[row] if table.whole[row] else row + 1
    largest = sort_rows(table, rows, "-growth", LARGEST)
    return tuple(describe(table, row) for row in largest if table.after[row] != table.before[row])


def _place(table: FileTable, moved: Sequence[int]) -> FileItem | None:
    """The deepest directory that has most of what grew and shrank, if it is not the root."""
    place, below = 0, iter((0,))
    while (row := next(below, None)) is not None:
        place = row
        below = (each for each in table.children(row) if table.is_directory(each) and 0 < _MOST * moved[0] <= moved[each])
    return describe(table, place) if place else None


def _problem(image: PlatformImage, files: LayeredFiles) -> str:
    problems = join_problems([effect.problem for effect in files.effects])
    return problems and f"image {image.name}: {problems}"


def _compare_configs(left: ImageConfig, right: ImageConfig) -> tuple[SettingDifference, ...]:
    """The settings that differ, ordered by field, then by key."""
    ours, theirs = _settings(left), _settings(right)
    return tuple(
        SettingDifference(field, key, ours[field].get(key), theirs[field].get(key))
        for field in ours
        for key in sorted(ours[field].keys() | theirs[field].keys())
        if ours[field].get(key) != theirs[field].get(key)
    )


def _compare_histories(left: ImageConfig, right: ImageConfig) -> HistoryDifference:
    """The steps that are the same from the beginning on, whenever they were made, and what follows."""
    same = 0
    for ours, theirs in zip(left.history, right.history, strict=False):
        if (ours.created_by, ours.empty_layer) != (theirs.created_by, theirs.empty_layer):
            break
        same += 1
    return HistoryDifference(same, left.history[same:], right.history[same:])


def _settings(config: ImageConfig) -> dict[str, Mapping[str, str]]:
    container = config.container
    return {
        "Platform": _one(str(config.platform)),
        "Env": dict(_variable(text) for text in container.env or ()),
        "Labels": container.labels or {},
        "Entrypoint": _one(_words(container.entrypoint)),
        "Cmd": _one(_words(container.cmd)),
        "User": _one(container.user),
        "WorkingDir": _one(container.working_dir),
        "ExposedPorts": dict.fromkeys(container.exposed_ports or (), ""),
        "Volumes": dict.fromkeys(container.volumes or (), ""),
        "StopSignal": _one(container.stop_signal),
        "Shell": _one(_words(container.shell)),
        "OnBuild": dict(_by_number(container.on_build or ())),
        "Healthcheck": _one(_healthcheck(container)),
    }


def _by_number(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Texts by their number."""
    return [(str(number), text) for number, text in enumerate(texts)]


def _variable(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _one(text: str | None) -> dict[str, str]:
    """A setting without keys; none if it is empty."""
    return {"": text} if text else {}


def _words(words: tuple[str, ...] | None) -> str:
    """A command as Dockerfiles write it: a JSON list."""
    return "" if words is None else orjson.dumps(words).decode()


def _healthcheck(container: ContainerConfig) -> str:
    return "" if container.healthcheck is None else orjson.dumps(container.healthcheck.to_json()).decode()
