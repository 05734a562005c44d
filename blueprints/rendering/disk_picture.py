"""The disk as a treemap: rectangles with labels and links. Their areas are in proportion to bytes, and they
are as square as possible.

Source: Bruls, Huizing, van Wijk, "Squarified Treemaps" (2000).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from stowage.blueprints.rendering.text import plain, short_digest, size
from stowage.services.oci.reference import name_forms
from stowage.services.system.disk import DiskPicture


class Box(NamedTuple):
    """A rectangle of a picture."""

    x: float
    y: float
    width: float
    height: float


WIDE, NARROW = Box(0, 0, 1088, 330), Box(0, 0, 356, 460)
"""The pictures for a desk and for a phone, in CSS pixels."""
_CHARACTER, _LINE = 7.2, 17
"""Room that a character and a line of a label take."""
_SMALLEST = 9.0
"""Area of a rectangle that can still be seen."""


class Part(NamedTuple):
    """A part of the disk: the class of its colour, its name, its bytes, a sentence about it, and where it leads, if anywhere."""

    kind: str
    label: str
    bytes: int
    words: str
    link: str = ""


class Tile(NamedTuple):
    """A part in its rectangle, with the lines of text that fit into it."""

    part: Part
    box: Box
    lines: tuple[str, ...]


def draw_disk(picture: DiskPicture, box: Box) -> list[Tile]:
    """The tiles of the picture. Parts of the same kind are beside each other."""
    groups = sorted(filter(None, _groups(picture)), key=_weigh, reverse=True)
    return [tile for group, room in zip(groups, squarify(list(map(_weigh, groups)), box), strict=True) for tile in _tiles(group, room)]


def familiar_repository(repository: str) -> str:
    """A repository as Docker shows it; images without a name are in none."""
    return name_forms(f"{repository}:x")[1] if repository else ""


def _groups(picture: DiskPicture) -> Iterator[list[Part]]:
    """What is beside each other: what one image has, what several have, and the rest."""
    yield _with_rest(
        list(_repositories(picture)), picture.unique.bytes, "unique", "Other images", "only one image has them", "/ui/images?sort=-unique"
    )
    yield _with_rest(list(_layers(picture)), picture.shared.bytes, "shared", "Other shared layers", "several images have them", "")
    yield _positive([
        Part("unused", "Not needed", picture.unneeded.bytes, "no image has them; a prune removes them", "/ui/#other"),
        Part("unused", "Kept for a while", picture.leased.bytes, "an operation that has not ended keeps them", "/ui/#other"),
    ])  # fmt: skip
    yield _positive([Part("partial", "Partial downloads", picture.partial.bytes, "downloads that have not ended", "/ui/#other")])
    yield _positive(
        [Part("derived", name.capitalize(), count, "what the service knows", "/ui/#other") for name, count in picture.derived.items()]
    )


def _repositories(picture: DiskPicture) -> Iterator[Part]:
    for each in picture.repositories:
        name = familiar_repository(each.repository)
        images = "1 image" if each.images == 1 else f"{each.images:,} images"
        link = urlencode({"reference": name}) if name else "dangling=true"
        yield Part(
            "unique",
            plain(name, 100) or "without a name",
            each.unique,
            f"only one image has them, of {images}",
            f"/ui/images?{link}&sort=-unique",
        )


def _layers(picture: DiskPicture) -> Iterator[Part]:
    for each in picture.layers:
        label = plain(each.name, 100) or short_digest(each.digest)
        yield Part(
            "shared", f"{label} +{each.users - 1}", each.size, f"{each.users:,} images share this layer", f"/ui/layers/{each.digest}"
        )


def _with_rest(parts: list[Part], total: int, kind: str, label: str, words: str, link: str) -> list[Part]:
    """The parts, and what they do not contain of a total."""
    parts = _positive(parts)
    rest = total - sum(part.bytes for part in parts)
    return [*parts, Part(kind, label, rest, words, link)] if rest > 0 else parts


def _positive(parts: list[Part]) -> list[Part]:
    return [part for part in parts if part.bytes > 0]


def _weigh(parts: Sequence[Part]) -> int:
    return sum(part.bytes for part in parts)


def _tiles(parts: list[Part], room: Box) -> Iterator[Tile]:
    ordered = sorted(parts, key=lambda part: part.bytes, reverse=True)
    for part, box in zip(ordered, squarify([part.bytes for part in ordered], room), strict=True):
        if box.width * box.height >= _SMALLEST:
            yield Tile(part, box, _fitting(part, box))


def _fitting(part: Part, box: Box) -> tuple[str, ...]:
    """The label and the size as far as there is room for them."""
    most = int((box.width - 14) / _CHARACTER)
    label = part.label if len(part.label) <= most else _without_host(part.label)
    lines = [line if len(line) <= most else line[: most - 1] + "…" for line in (label, size(part.bytes))]
    rows = int((box.height - 8) / _LINE)
    return tuple(lines[: min(rows, 2)]) if most >= 5 else ()


def _without_host(label: str) -> str:
    """A label without the registry's host, which says the least of a name."""
    host, slash, path = label.partition("/")
    return path if slash and (host == "localhost" or "." in host or ":" in host) else label


def squarify(values: Sequence[float], box: Box) -> list[Box]:
    """A rectangle for each value, which are positive and in descending order, that together fill the box."""
    total = sum(values)
    if not total or box.width <= 0 or box.height <= 0:
        return [Box(box.x, box.y, 0, 0) for _ in values]
    scale = box.width * box.height / total
    areas, placed = [value * scale for value in values], list[Box]()
    while len(placed) < len(areas):
        row = _row(areas[len(placed) :], min(box.width, box.height))
        boxes, box = _place(row, box)
        placed += boxes
    return placed


def _row(areas: Sequence[float], side: float) -> Sequence[float]:
    """The first areas that are the most square beside each other along a side."""
    taken, worst = 1, _worst(areas[:1], side)
    while taken < len(areas):
        following = _worst(areas[: taken + 1], side)
        if following > worst:
            break
        taken, worst = taken + 1, following
    return areas[:taken]


def _worst(areas: Sequence[float], side: float) -> float:
    """The largest ratio of the sides of any rectangle in a row."""
    total = sum(areas)
    return max(side * side * max(areas) / (total * total), total * total / (side * side * min(areas)))


def _place(row: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """The rectangles of a row along the shorter side of a box, and the rest of the box."""
    total = sum(row)
    boxes, position = [], 0.0
    if box.width >= box.height:
        thickness = total / box.height
        for area in row:
            boxes.append(Box(box.x, box.y + position, thickness, area / thickness))
            position += area / thickness
        return boxes, Box(box.x + thickness, box.y, max(0.0, box.width - thickness), box.height)
    thickness = total / box.width
    for area in row:
        boxes.append(Box(box.x + position, box.y, area / thickness, thickness))
        position += area / thickness
    return boxes, Box(box.x, box.y + thickness, box.width, max(0.0, box.height - thickness))
