"""The board on which every process shows the transfers that it runs, and where any of them can be asked to end one.

What is on it is derived and short-lived: nothing depends on it, it costs no lock that a change of the store waits for, and what a process
does not renew is gone a few seconds later, however the process ended.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

STALE_SECONDS = 8
"""A page that was not renewed for so long is that of a process which has ended."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is being transferred, such as a blob by the beginning of its digest: bytes done, and all of them."""

    id: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """A running pull, push, load, save or import.

    `images` are the first few names, of `image_count` in all; a load learns them at its end. `registry` is the one that it uses, `client`
    what the client calls itself, and `started` nanoseconds since 1970. `total` and `left`, in seconds, are None if unknown; `rate` is in
    bytes a second. `parts` are some of those that are under way. `is_ending` after somebody has asked for its end.
    """

    id: str
    operation: str
    images: tuple[str, ...]
    image_count: int
    registry: str
    client: str
    started: int
    done: int
    total: int | None
    rate: int
    left: int | None
    parts: tuple[Part, ...] = ()
    is_ending: bool = False


class TransferBoard(Protocol):
    """Raises Internal, OutOfSpace or Unavailable if the place where it is kept fails."""

    def post(self, process: str, page: str, transfers: Collection[str]) -> set[str]:
        """Show this page, in place of the process's last one; returns which of its transfers somebody wants to end, each once."""

    def clear(self, process: str) -> None:
        """Remove the page of a process."""

    def pages(self) -> dict[str, str]:
        """The page of every process that has renewed it in time."""

    def end(self, transfer: str) -> None:
        """Ask whichever process runs this transfer to end it."""


def write_page(transfers: Collection[Transfer]) -> str:
    """Transfers as a page."""
    return orjson.dumps(list(transfers)).decode()


def read_page(page: str) -> list[Transfer]:
    """The transfers of a page; none if another version wrote it in another form."""
    try:
        return [_transfer(**each) for each in orjson.loads(page)]
    except (TypeError, ValueError):
        return []


def _transfer(*, images: list[str], parts: list[dict[str, Any]], **rest: Any) -> Transfer:
    return Transfer(images=tuple(images), parts=tuple(Part(**part) for part in parts), **rest)
