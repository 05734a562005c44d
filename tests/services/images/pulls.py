"""What tests of pulls begin with, and look at."""

from __future__ import annotations

from stowage.services.engine import Engine
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.oci.digest import Digest
from stowage.services.progress import Progress, ProgressStream
from tests.builders import Layout
from tests.fake_registry import FakeRegistry


def pull(engine: Engine, image: str, tag: str = "1", **options: object) -> list[Progress]:
    """The lines of a whole pull; ticks and advances are left out."""
    lines = pull_image(engine, pull_reference(image, tag), **options)  # type: ignore[arg-type]
    return [line for line in lines if line.status not in ("", "Downloading")]


def first_line(lines: ProgressStream) -> Progress:
    """The first item that is no tick."""
    return next(line for line in lines if line != Progress())


def target_of(engine: Engine, name: str) -> Digest | None:
    with engine.metadata.read() as tx:
        record = tx.images.get(name)
    return record.target.digest if record else None


def present(engine: Engine, layout: Layout) -> set[str]:
    """Which blobs of the layout have rows, and with that files."""
    with engine.metadata.read() as tx:
        found = tx.graph.present(Digest.parse(digest) for digest in layout.blobs)
    assert all(engine.content.size(digest) is not None for digest in found)
    return {str(digest) for digest in found}


def is_empty(engine: Engine) -> bool:
    """No name, no blob, no partial."""
    with engine.metadata.read() as tx:
        rows = tx.graph.all_blobs()
        count = tx.images.count()
    return (rows, count, list(engine.content.blobs()), list(engine.content.partials())) == ({}, 0, [], [])


def offsets(registry: FakeRegistry, digest: str) -> list[int]:
    """The offsets at which the registry was asked for a blob, in order."""
    asked = [request for request in registry.requests if request.path.endswith(digest)]
    return [int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")) for request in asked]
