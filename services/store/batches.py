"""Long work in short transactions, so other writers need not wait for all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from stowage.services.metadata.reach import MAX_DESCRIPTORS

BATCH = 200
"""How many names one transaction changes, or manifests it records, which takes less than a tenth of a second."""

REMOVED_NAMES = 500
"""How many names one transaction removes, which takes a fraction of a second; what lists show of their image is derived again each time."""

Item = TypeVar("Item")


def batches(items: Iterable[Item], weigh: Callable[[Item], int] = lambda _: 0, *, most: int | None = None) -> Iterator[list[Item]]:
    """The items in their order, in lists of at most `most`, by default BATCH, that weigh as much as the largest image, or of one.

    What weighs is a descriptor: one transaction writes or removes the rows of so many in a fraction of a second.
    """
    batch: list[Item] = []
    room = MAX_DESCRIPTORS
    for item in items:
        weight = weigh(item)
        if len(batch) == (most or BATCH) or (batch and weight > room):
            yield batch
            batch, room = [], MAX_DESCRIPTORS
        batch.append(item)
        room -= weight
    if batch:
        yield batch
