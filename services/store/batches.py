"""Long work in short transactions, so other writers need not wait for all of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

BATCH = 200
"""How many names one transaction changes, or manifests it records, which takes less than a tenth of a second."""

REMOVED_NAMES = 500
"""How many names one transaction removes, which takes a fraction of a second; what lists show of their image is derived again each time."""

MAX_WEIGHT = 20_000
"""How many links from manifests to others one transaction writes or follows, in a fraction of a second; a single manifest may have more."""

Item = TypeVar("Item")


def batches(
    items: Iterable[Item], weigh: Callable[[Item], Mapping[Hashable, int]] = lambda _: {}, *, most: int | None = None
) -> Iterator[list[Item]]:
    """The items in their order, in lists of at most `most`, by default BATCH, and MAX_WEIGHT.

    An item's weight is that of its parts; one that several items of a list have in common counts once.
    """
    batch: list[Item] = []
    counted: set[Hashable] = set()
    room = MAX_WEIGHT
    for item in items:
        parts = weigh(item)
        weight = sum(parts[part] for part in parts.keys() - counted)
        if len(batch) == (most or BATCH) or (batch and weight > max(room, 0)):
            yield batch
            batch, counted, room = [], set(), MAX_WEIGHT
            weight = sum(parts.values())
        batch.append(item)
        counted |= parts.keys()
        room -= weight
    if batch:
        yield batch
