"""The board on which every process shows the transfers that it runs, and where any of them can be asked to end one.

What is on it is derived and short-lived: nothing depends on it, it costs no lock that a change of the store waits for, and what a process
does not renew is gone a few seconds later, however the process ended.

On SQLite the board is a folder, for the processes of one machine; on PostgreSQL see services/metadata/board.py.

    <folder>/<process>.page      what a process runs; replaced by a rename, and as old as its last renewal
    <folder>/<transfer>.end      somebody wants this transfer to end; removed by the process that runs it
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from stowage.services.files import storage_errors

STALE_SECONDS = 8
"""A page that was not renewed for so long is that of a process which has ended."""


@dataclass(frozen=True, slots=True)
class RunningPart:
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
    parts: tuple[RunningPart, ...] = ()
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
    return Transfer(images=tuple(images), parts=tuple(RunningPart(**part) for part in parts), **rest)


_PAGE, _END = ".page", ".end"
_OLD_SECONDS = 60
"""The age at which what a dead process has left, or never took, is removed."""


class FileBoard:
    """A TransferBoard in a folder. Nothing is synced: a crash may lose all of it."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock

    def post(self, process: str, page: str, transfers: Collection[str]) -> set[str]:
        with storage_errors():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._write(f"{process}{_PAGE}", page)
            self._remove_old()
            return {transfer for transfer in transfers if self._take(f"{transfer}{_END}")}

    def clear(self, process: str) -> None:
        with storage_errors():
            self._take(f"{process}{_PAGE}")

    def pages(self) -> dict[str, str]:
        found: dict[str, str] = {}
        with storage_errors():
            for path in self._folder.glob(f"*{_PAGE}"):
                with suppress(FileNotFoundError):
                    if self._age(path) < STALE_SECONDS:
                        found[path.stem] = path.read_text()
        return found

    def end(self, transfer: str) -> None:
        with storage_errors():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._write(f"{transfer}{_END}", "")

    def _write(self, name: str, text: str) -> None:
        new = self._folder / f"{name}.new"
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        now = self._clock()
        os.utime(new, (now, now))
        new.rename(self._folder / name)

    def _take(self, name: str) -> bool:
        """Remove a file, and return whether it was there."""
        try:
            (self._folder / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def _remove_old(self) -> None:
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                if self._age(path) >= _OLD_SECONDS:
                    path.unlink()

    def _age(self, path: Path) -> float:
        return self._clock() - path.lstat().st_mtime
