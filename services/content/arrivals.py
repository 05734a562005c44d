"""How much of the blobs that other nodes are writing has arrived there, so that whoever waits for one sees whether it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Arrivals(Protocol):
    """What is here is derived and a few seconds old, and nothing depends on it. No method raises an error of where it is kept."""

    def showing(self, key: str, size: Callable[[], int]) -> AbstractContextManager[None]:
        """Show other nodes how many bytes of an ingest there are, while inside."""

    def size(self, key: str) -> int:
        """The bytes of an ingest on another node, as last shown; 0 if none shows it."""


class NoArrivals:
    """The arrivals of a store that has one node: `Arrivals`."""

    @contextmanager
    def showing(self, key: str, size: Callable[[], int]) -> Iterator[None]:
        yield

    def size(self, key: str) -> int:
        return 0
