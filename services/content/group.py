"""Small blobs published together: each file is synced, but their folder only once, and the blobs share one ingest folder.

All files are written before the first is synced, so that a journaling file system commits its journal once instead of for each file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from stowage.services.content.errors import storage_errors
from stowage.services.content.files import clear_place, make_folder, remove_partial, sync_folder
from stowage.services.content.locks import try_lock, wait_lock
from stowage.services.content.paths import Layout
from stowage.services.errors import InvalidContent
from stowage.services.oci.digest import Digest


@contextmanager
def publish_all(layout: Layout, blobs: Mapping[Digest, bytes]) -> Iterator[dict[Digest, str]]:
    """Publish the blobs whose locks are free, and settle them while inside (services/content/protocol.py: ContentStore.publish)."""
    key = uuid4().hex
    with wait_lock(layout.lock(key)), ExitStack() as held:
        free = {
            digest: content
            for digest, content in blobs.items()
            if held.enter_context(try_lock(layout.lock(str(digest)))) and held.enter_context(try_lock(layout.settle_lock(digest)))
        }
        try:
            _write(layout, key, free)
            _rename(layout, key, free)
        finally:
            with storage_errors():
                remove_partial(layout.partial(key))
        yield dict.fromkeys(free, "")


@storage_errors()
def _write(layout: Layout, key: str, blobs: Mapping[Digest, bytes]) -> None:
    layout.partial(key).parent.mkdir(mode=0o700)
    with ExitStack() as opened:
        files: list[int] = []
        for digest, content in blobs.items():
            check_content(digest, content)
            handle = os.open(layout.member(key, digest), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            file = opened.enter_context(os.fdopen(handle, "wb"))
            file.write(content)
            file.flush()
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)  # makes Linux begin to write the file to disk, without waiting for it
            files.append(handle)
        for handle in files:
            os.fsync(handle)


def check_content(digest: Digest, content: bytes) -> None:
    """Raise InvalidContent if the content has another digest."""
    actual = Digest.of(content, digest.algorithm)
    if actual != digest:
        raise InvalidContent(f"unexpected commit digest {actual}, expected {digest}")


@storage_errors()
def _rename(layout: Layout, key: str, blobs: Mapping[Digest, bytes]) -> None:
    folders = {layout.blob(digest).parent for digest in blobs}
    for folder in folders:
        make_folder(folder)
    for digest in blobs:
        remove_partial(layout.partial(str(digest)))
        clear_place(layout, layout.blob(digest))
        os.rename(layout.member(key, digest), layout.blob(digest))
    for folder in folders:
        sync_folder(folder)
