"""The disk as a treemap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.blueprints.rendering.disk_picture import Box, draw_disk, squarify
from stowage.services.metadata.usage import Amount, RepositoryUse
from stowage.services.system.disk import DiskPicture


def label(repository: str, width: float) -> str:
    """The label of the only part of a disk, in a picture of this width."""
    none = Amount()
    use = (RepositoryUse(repository, 1, 500),)
    disk = DiskPicture(1, Amount(1, 500), none, none, none, none, {}, 0, 0, use, (), ())
    ((name, *_),) = [tile.lines for tile in draw_disk(disk, Box(0, 0, width, 100))]
    return name


@pytest.mark.parametrize(
    ("repository", "width", "shown"),
    [
        ("127.0.0.1:5155/acme/shop", 300, "127.0.0.1:5155/acme/shop"),
        ("127.0.0.1:5155/acme/shop", 150, "acme/shop"),
        ("127.0.0.1:5155/acme/shop", 70, "acme/s…"),
        ("localhost/shop", 70, "shop"),
        ("docker.io/acme/production", 70, "acme/p…"),
    ],
)
def test_a_label_that_is_too_long_loses_the_host_first(repository: str, width: float, shown: str) -> None:
    assert label(repository, width) == shown


@given(st.lists(st.integers(1, 10**12), max_size=30))
def test_a_treemap_fills_its_box_in_proportion(values: list[int]) -> None:
    values.sort(reverse=True)
    boxes = squarify(values, Box(0, 0, 300, 200))
    assert len(boxes) == len(values)
    for value, box in zip(values, boxes, strict=True):
        assert box.width * box.height == pytest.approx(60_000 * value / sum(values), rel=1e-6)
        assert box.x >= -1e-6 and box.y >= -1e-6 and box.x + box.width <= 300.001 and box.y + box.height <= 200.001


def test_equal_values_make_squares() -> None:
    assert squarify([1, 1, 1, 1], Box(0, 0, 20, 20)) == [Box(0, 0, 10, 10), Box(0, 10, 10, 10), Box(10, 0, 10, 10), Box(10, 10, 10, 10)]
