"""Long work in short transactions, so other writers need not wait for all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

BATCH = 200
"""How many names one transaction changes, or manifests it records, which takes less than a tenth of a second."""

MAX_WEIGHT = 20_000
"""How many links from manifests to others one transaction writes or follows, in a fraction of a second; a single manifest may have more."""

_PAUSE_SECONDS = 0.02
"""A writer that waits for SQLite does not queue, but retries up to ten times a second."""

Item = TypeVar("Item")


def batches(items: Iterable[Item], weigh: Callable[[Item], int] = lambda _: 0) -> Iterator[list[Item]]:
    """The items in their order, in lists of at most BATCH and MAX_WEIGHT, with a moment for others in between."""
    batch: list[Item] = []
    room = MAX_WEIGHT
    for item in items:
        weight = weigh(item)
        if len(batch) == BATCH or (batch and weight > room):
            yield batch
            time.sleep(_PAUSE_SECONDS)
            batch, room = [], MAX_WEIGHT
        batch.append(item)
        room -= weight
    if batch:
        yield batch
