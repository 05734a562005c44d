"""Sizes and times as Docker's CLI writes them, and treemaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.blueprints.rendering.disk_picture import Box, squarify
from stowage.blueprints.rendering.text import age, instruction, percent, size, when

DAY = 86400


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"), (999, "999B"), (1000, "1kB"), (1234, "1.23kB"), (99_950, "100kB"), (124_000_000, "124MB"), (1_500_000_000, "1.5GB"),
        (999_600, "1000kB"), (2 * 10**24, "2YB"), (5 * 10**27, "5000YB"),
    ],
)  # fmt: skip
def test_a_size_has_three_digits(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "less than a second ago"), (1, "1 second ago"), (59, "59 seconds ago"), (60, "about a minute ago"), (150, "2 minutes ago"),
        (3600, "about an hour ago"), (47 * 3600, "47 hours ago"), (47.6 * 3600, "2 days ago"), (13.9 * DAY, "13 days ago"),
        (15 * DAY, "2 weeks ago"), (70 * DAY, "2 months ago"), (800 * DAY, "2 years ago"),
    ],
)  # fmt: skip
def test_an_age_is_rounded_as_by_docker(seconds: float, text: str) -> None:
    assert age(1000, 1000 + seconds) == text


def test_years_beyond_calendars_have_no_date() -> None:
    assert (when(0), when(1 << 60), when(-(1 << 60))) == ("1970-01-01T00:00:00Z", "", "")


@pytest.mark.parametrize(
    ("created_by", "line"),
    [
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c make  all", "RUN make  all"),
        ("RUN /bin/sh -c make # buildkit", "RUN make"),
        ("COPY . /srv # buildkit", "COPY . /srv"),
        ("", ""),
    ],
)
def test_a_step_is_the_line_that_made_it(created_by: str, line: str) -> None:
    assert instruction(created_by) == line


def test_shares_are_rounded() -> None:
    assert [percent(part, 200) for part in (0, 1, 100, 200)] == ["0%", "<1%", "50%", "100%"]
    assert percent(1, 0) == "0%"


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
