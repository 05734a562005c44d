"""Long work in short transactions."""

from __future__ import annotations

from stowage.services.metadata.reach import MAX_DESCRIPTORS
from stowage.services.store.batches import BATCH, batches


def sizes(weights: list[int]) -> list[int]:
    return [len(batch) for batch in batches(range(len(weights)), weights.__getitem__)]


def test_items_that_weigh_nothing_are_together() -> None:
    assert sizes([0] * (BATCH + 1)) == [BATCH, 1]


def test_a_batch_weighs_no_more_than_its_limit_unless_one_item_does() -> None:
    half = MAX_DESCRIPTORS // 2
    assert sizes([half, half, 1, 3 * MAX_DESCRIPTORS, 0]) == [2, 1, 1, 1]
