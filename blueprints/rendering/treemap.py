"""Treemaps: rectangles whose areas are in proportion to values, as square as possible. Pure geometry.

Source: Bruls, Huizing, van Wijk, "Squarified Treemaps" (2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle of a picture."""

    x: float
    y: float
    width: float
    height: float


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
