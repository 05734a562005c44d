"""The partials of a root, and the locks that settle digests there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from stowage.services.content.errors import storage_errors
from stowage.services.content.files import file_state, partial_bytes, remove_partial
from stowage.services.content.locks import is_locked, try_lock
from stowage.services.content.paths import Layout, key_of
from stowage.services.meter import StoreMeter
from stowage.services.oci.digest import Digest


class Partials:
    """What a content store in a folder and one in a bucket have in common."""

    def __init__(self, layout: Layout, meter: StoreMeter) -> None:
        self._layout, self._meter = layout, meter

    def locked(self, digest: Digest) -> AbstractContextManager[bool]:
        return try_lock(self._layout.settle_lock(digest))

    def exclusive(self, name: str) -> AbstractContextManager[bool]:
        return try_lock(self._layout.lock(name))

    def partials(self) -> Iterator[tuple[str, int, bool]]:
        for folder in entries(self._layout.ingests):
            key = key_of(folder.name)
            if key is not None:
                with storage_errors():
                    size = partial_bytes(self._layout.partial(key))
                yield key, size, is_locked(self._layout.lock(key))

    def partial_size(self, key: str) -> int:
        with storage_errors():
            found = file_state(self._layout.partial(key))
        return found.st_size if found else 0

    def discard_partial(self, key: str) -> int:
        with try_lock(self._layout.lock(key)) as held, storage_errors():
            size = remove_partial(self._layout.partial(key)) if held else 0
        if size:
            self._meter.removed(size)
        return size


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with storage_errors(), os.scandir(folder) as found:
        yield from found
