"""How far an operation is, and how fast."""

from __future__ import annotations

from stowage.services.meter import Extent, Parts, Rate, seconds_left


def test_nothing_is_known_before_anything_is_expected() -> None:
    assert Parts().extent() == Extent(0, None, 0)


def test_parts_are_added_up() -> None:
    parts = Parts()
    parts.expect({"a": 100, "b": 50})
    parts.reach("a", 30)
    assert (parts.extent(), parts.running()) == (Extent(30, 150, 30), [("a", 30, 100)])
    parts.reach("a", 100)
    parts.finish("a")
    assert (parts.extent(), parts.running()) == (Extent(100, 150, 100), [])
    parts.finish("b")
    assert parts.extent() == Extent(150, 150, 100)


def test_what_is_reached_without_being_moved_does_not_count_for_the_rate() -> None:
    parts = Parts()
    parts.expect({"resumed": 100})
    parts.skip(60)
    parts.reach("resumed", 70)
    assert parts.extent() == Extent(70, 100, 10)


def test_a_part_that_begins_again_takes_back_what_it_had_reached() -> None:
    parts = Parts()
    parts.expect({"a": 100})
    parts.reach("a", 80)
    parts.reach("a", 5)
    assert parts.extent() == Extent(5, 100, 5)


def test_a_part_that_turns_out_not_to_be_needed_is_not_counted() -> None:
    parts = Parts()
    parts.expect({"there": 100, "missing": 10})
    parts.drop("there")
    parts.finish("there")
    assert parts.extent() == Extent(0, 10, 0)


def test_what_is_not_expected_changes_nothing() -> None:
    parts = Parts()
    parts.reach("manifest", 7)
    parts.finish("manifest")
    assert parts.extent() == Extent(0, None, 0)


def test_parts_that_are_finished_take_no_memory() -> None:
    parts = Parts()
    for number in range(1000):
        parts.expect({str(number): 1})
        parts.reach(str(number), 1)
        parts.finish(str(number))
    assert (parts._sizes, parts._reached, parts.extent().done) == ({}, {}, 1000)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate(began=100.0)
    assert rate.at(100.0, 0) == 0
    assert [rate.at(100.0 + second, 1000 * second) for second in range(1, 21)] == [1000] * 20
    assert [rate.at(120.0 + second, 20_000) for second in (5, 10, 15)] == [500, 0, 0]


def test_a_rate_is_never_negative() -> None:
    rate = Rate(began=0.0)
    rate.at(1.0, 500)
    assert rate.at(2.0, 0) == 0
    assert rate.at(13.0, 0) == 0


def test_the_time_left() -> None:
    assert seconds_left(Extent(40, 100, 40), 25) == 3
    assert seconds_left(Extent(100, 100, 100), 0) == 0
    assert seconds_left(Extent(40, 100, 40), 0) is None
    assert seconds_left(Extent(40, None, 40), 25) is None
