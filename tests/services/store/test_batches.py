"""Long work in short transactions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from stowage.services.store.batches import BATCH, MAX_WEIGHT, batches


def sizes(weights: Sequence[Mapping[Hashable, int]]) -> list[int]:
    return [len(batch) for batch in batches(range(len(weights)), weights.__getitem__)]


def test_items_that_weigh_nothing_are_together() -> None:
    assert sizes([{}] * (BATCH + 1)) == [BATCH, 1]


def test_a_batch_weighs_no_more_than_its_limit() -> None:
    half = MAX_WEIGHT // 2
    assert sizes([{"a": half}, {"b": half}, {"c": 1}]) == [2, 1]


def test_what_items_have_in_common_counts_once() -> None:
    assert sizes([{"a": MAX_WEIGHT}] * 5) == [5]


def test_what_items_have_in_common_counts_once_even_if_it_is_too_much() -> None:
    weights: list[dict[Hashable, int]] = [{"a": 3 * MAX_WEIGHT} for _ in range(5)]
    assert sizes([*weights, {"b": 1}]) == [5, 1]
