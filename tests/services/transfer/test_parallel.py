"""The line about a whole pull or push."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import NotFound
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.images.push import push_image, push_reference
from stowage.services.meter import PartCounts, Tally
from stowage.services.progress import Detail, Progress, ProgressStream
from stowage.services.transfer.parallel import TOTAL, with_totals
from tests.builders import Layout, make_layer, simple_layout
from tests.fake_registry import FakeRegistry


def test_it_comes_twice_a_second_with_the_bytes_the_rate_and_the_time_left() -> None:
    parts = PartCounts()

    def lines() -> ProgressStream:
        yield Progress("Pulling from library/a")
        parts.expect({"a": 2000, "b": 2000})
        for position in range(100, 2001, 100):
            parts.reach("a", position)
            yield Progress()
        yield Progress("Status: done")

    clock = itertools.count(0, 0.1)
    found = [line for line in with_totals(lines(), parts, clock=lambda: next(clock)) if line != Progress()]
    told = [line for line in found if line.id == TOTAL]
    assert [line.detail.current for line in told if line.detail] == [100, 600, 1100, 1600, 2000, 0]
    assert [line.status for line in told] == [
        "waiting",
        "waiting",
        "917B/s, 4s left",
        "941B/s, 3s left",
        "909B/s, 3s left",
        "2kB in 2s, 870B/s",
    ]
    assert told[2] == Progress("917B/s, 4s left", TOTAL, Detail(current=1100, total=4000, rate=917, left=4))
    assert found[0] == Progress("Pulling from library/a")
    assert found[-1] == Progress("2kB in 2s, 870B/s", TOTAL, Detail())


def test_it_says_that_it_waits_while_nothing_moves() -> None:
    parts = PartCounts()
    parts.expect({"a": 10})
    assert next(line for line in with_totals(_ticks(3), parts) if line.id).status == "waiting"


def test_there_is_none_if_there_is_nothing_to_transfer() -> None:
    assert list(with_totals(_ticks(3), PartCounts())) == [Progress()] * 3


def test_an_error_comes_through_and_a_close_goes_down() -> None:
    parts, closed = PartCounts(), []

    def lines() -> ProgressStream:
        try:
            yield Progress("a")
            raise NotFound("gone")
        finally:
            closed.append(True)

    failing = with_totals(lines(), parts)
    next(failing)
    with pytest.raises(NotFound, match="gone"):
        next(failing)
    left = with_totals(lines(), parts)
    next(left)
    left.close()
    assert closed == [True, True]


def test_a_pull_counts_what_it_fetches_and_nothing_else(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    image = layout.image([make_layer("a", 40_000), make_layer("b", 50_000)], compression="none")
    name = registry.publish(layout, image)
    total = sum(len(content) for digest, content in layout.blobs.items() if digest != image["digest"])
    assert _last(_pulled(engine, name)).startswith(_size(total))
    assert _totals(_pulled(engine, name)) == []
    other = simple_layout(label="a", name=None)
    other.blobs |= layout.blobs
    more = other.image([make_layer("a", 40_000), make_layer("c", 70_000)], compression="none")
    name = registry.publish(other, more, tag="2")
    assert _totals(_pulled(engine, name, "2"))[0].detail.total < 71_000 + 4_000  # type: ignore[union-attr]


def test_a_push_counts_what_the_registry_lacks(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    image = layout.image([make_layer("a", 40_000), make_layer("b", 50_000)], compression="none")
    name = registry.publish(layout, image)
    _pulled(engine, name)
    lacking = max(layout.blobs, key=lambda digest: len(layout.blobs[digest]))
    del registry.blobs[lacking]
    counting = replace(engine, tally=Tally())
    lines = list(with_totals(push_image(counting, push_reference(name, "1")), counting.tally.parts))
    assert _last(lines).startswith(_size(len(layout.blobs[lacking])))


def _pulled(engine: Engine, name: str, tag: str = "1") -> list[Progress]:
    counting = replace(engine, tally=Tally())
    return list(with_totals(pull_image(counting, pull_reference(name, tag)), counting.tally.parts))


def _totals(lines: list[Progress]) -> list[Progress]:
    return [line for line in lines if line.id == TOTAL]


def _last(lines: list[Progress]) -> str:
    return _totals(lines)[-1].status


def _size(count: int) -> str:
    return f"{count / 1000:.4g}kB in "


def _ticks(count: int) -> ProgressStream:
    for _ in range(count):
        yield Progress()
