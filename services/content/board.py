"""A board in a folder, for the processes of one machine.

<folder>/<process>.page      what a process runs; replaced by a rename, and as old as its last renewal
<folder>/<transfer>.end      somebody wants this transfer to end; removed by the process that runs it
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from stowage.services.content.errors import storage_errors
from stowage.services.transfer_board import STALE_SECONDS

_PAGE, _END = ".page", ".end"
_OLD_SECONDS = 60
"""The age at which what a dead process has left, or never took, is removed."""


class FileBoard:
    """Implements `stowage.services.transfer_board.TransferBoard`. Nothing is synced: a crash may lose all of it."""

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
