"""The contract of the rows of targets."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from stowage.services.metadata.records import NEWEST, Order, Selection, Target


class Targets(Protocol):
    """The targets of names, as lists show them."""

    def find(self, selection: Selection, order: Order = NEWEST, *, limit: int | None = None) -> array[int]:
        """The ids of these targets, all or the first ones, in the order of a list: by default the newest first, those of the same second by
        their first name.
        """

    def batches(self, ids: Iterable[int]) -> Iterator[list[int]]:
        """The ids that are not gone, in this order, in lists of a few hundred whose labels have a MiB together, or of one."""

    def read(self, ids: Iterable[int]) -> list[Target]:
        """The targets with these ids, in this order, without those that are gone. Recent ones are the same objects until they change."""

    def names(self, prefixes: Iterable[str], selection: Selection, likes: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
        """Each name that begins with one of these prefixes and meets the selection's conditions for names, and its target as text.

        The prefixes do not begin with each other. With `likes`, patterns of SQL's LIKE, only names that meet one; case may be ignored.
        """

    def bytes(self) -> int:
        """The bytes of all present blobs that a target reaches, each counted once."""
