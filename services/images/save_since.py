"""Write images to an archive, without the layers that its receiver has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from stowage.services.archive.bounds import Costs
from stowage.services.archive.compression import Readable
from stowage.services.engine import Engine
from stowage.services.images.save import save_images
from stowage.services.intake.known_blobs import read_known_blobs
from stowage.services.oci.platform import Platform


def save_since(engine: Engine, names: Sequence[str], *, platforms: Sequence[Platform], source: Readable) -> Iterator[bytes]:
    """The archive in chunks; the source is an archive that the receiver has loaded, or a list of its blobs.

    Raises what `read_known_blobs` and `save_images` raise, before the first chunk if it shows by then. What is known of the receiver counts
    in the memory of requests until the archive ends.
    """
    with closing(Costs(engine.memory)) as costs:
        known = read_known_blobs(engine, source, costs)
        yield from save_images(engine, names, platforms=platforms, without=known)
