"""A blob from a source that can be read from any offset, as a pull fetches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Protocol

from stowage.services.engine import Engine
from stowage.services.gc.leases import Lease
from stowage.services.intake.ingest import read_stored, writing
from stowage.services.intake.recording import Recorder, StoredBlob
from stowage.services.oci.digest import Digest


class Source(Protocol):
    """A blob from an offset on."""

    @property
    def offset(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


def fetch_blob(
    engine: Engine,
    lease: Lease,
    open_at: Callable[[int], Source],
    *,
    digest: Digest,
    size: int,
    waiting: Callable[[], None] = lambda: None,
) -> StoredBlob:
    """Store a blob; `open_at` is not called if nothing of it is missing."""
    with writing(engine, lease, digest, size, waiting=waiting) as writer:
        if writer is None:
            return read_stored(engine, digest, size)
        with writer.kept_if_broken():
            writer.resume()
            if writer.offset < size:
                with closing(open_at(writer.offset)) as source:
                    if source.offset != writer.offset:
                        writer.restart()
                    for _ in writer.pour(source):
                        pass
        return writer.commit(Recorder(engine))
