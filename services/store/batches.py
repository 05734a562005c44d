"""Long work in short transactions, so other writers need not wait for all of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

BATCH = 200
"""How many names one transaction changes: this takes less than a tenth of a second."""

_PAUSE_SECONDS = 0.02
"""A writer that waits for SQLite does not queue, but retries up to ten times a second."""

Item = TypeVar("Item")


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The items in order, in lists of at most BATCH, with a pause for other writers in between."""
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch
        if len(batch) == BATCH:
            time.sleep(_PAUSE_SECONDS)
