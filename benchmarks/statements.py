"""What pulls and other operations cost the database, counted: `python -m benchmarks.statements [--callers pull] [--layers COUNT]`.

An image of ten small layers is pulled, pulled again, tagged, pushed, pushed again, loaded and loaded again, on SQLite and PostgreSQL with
blobs in a folder, and on PostgreSQL with blobs in SeaweedFS. The output is a table in Markdown: write transactions, statements, and
round trips to PostgreSQL. With `--callers` it is followed by each statement of these operations and the functions that executed it.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.images.load import load_image
from stowage.services.images.push import push_image
from stowage.services.images.tag import tag_image
from stowage.services.metadata.store import upgrade
from stowage.services.oci.reference import Reference
from tests.buckets import open_bucket
from tests.builders import Layout, make_layer
from tests.engines import PLATFORM, metadata_store, real_engine
from tests.fake_registry import FakeRegistry
from tests.postgresql import running_cluster
from tests.seaweedfs import running_seaweed
from tests.services.images.pulls import pull
from tests.statements import Sent, counted

STORAGES = ("SQLite, folder", "PostgreSQL, folder", "PostgreSQL, bucket")


@contextmanager
def opened(storage: str) -> Iterator[Engine]:
    """An engine on an empty store of this kind."""
    with ExitStack() as held:
        root = Path(held.enter_context(tempfile.TemporaryDirectory())) / "root"
        root.mkdir()
        if storage.startswith("SQLite"):
            url = f"sqlite:///{root}/stowage.db"
        else:
            url = held.enter_context(running_cluster()).create_database("stowage")
        upgrade(url, PLATFORM)
        metadata = held.enter_context(closing(metadata_store(url)))
        if storage.endswith("folder"):
            yield real_engine(metadata, FilesystemStore(root), root / "transfers")
            return
        server = held.enter_context(running_seaweed())
        os.environ |= server.environ()
        bucket = open_bucket(root, server.url(server.create_bucket()), metadata)
        yield real_engine(metadata, bucket, root / "transfers")


def image(label: str, layers: int, *, name: str | None = None) -> tuple[Layout, dict[str, object]]:
    """An image of so many small layers that no other has."""
    layout = Layout()
    made = layout.image([make_layer(f"{label} {number}") for number in range(layers)])
    if name:
        layout.tag(made, name)
    return layout, made


def operations(engine: Engine, registry: FakeRegistry, layers: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is counted, in this order."""
    pull(engine, registry.publish(*image("first", layers), "team/first"))  # connections and what is derived once
    name = registry.publish(*image("pulled", layers), "team/app")
    yield "pull", lambda: pull(engine, name)
    yield "pull again", lambda: pull(engine, name)
    pushed = Reference.parse(f"{name}-pushed:1")
    yield "tag", lambda: tag_image(engine, f"{name}:1", pushed)
    yield "push", lambda: list(push_image(engine, pushed))
    yield "push again", lambda: list(push_image(engine, pushed))
    archive = image("loaded", layers, name="docker.io/library/loaded:1")[0].to_tar()
    yield "load", lambda: list(load_image(engine, io.BytesIO(archive)))
    yield "load again", lambda: list(load_image(engine, io.BytesIO(archive)))


def measure(storage: str, layers: int) -> dict[str, Sent]:
    """What each operation sends."""
    found: dict[str, Sent] = {}
    with opened(storage) as engine, FakeRegistry().serve() as registry:
        for what, operate in operations(engine, registry, layers):
            with counted() as found[what]:
                operate()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--callers", nargs="+", default=[], metavar="OPERATION")
    options = parser.parse_args()
    measured = {storage: measure(storage, options.layers) for storage in STORAGES}
    print("| operation |", " | ".join(f"{storage}: writes | statements | round trips" for storage in STORAGES), "|")
    print("|---|" + "---|---|---|" * len(STORAGES))
    for what in measured[STORAGES[0]]:
        each = (found[what] for found in measured.values())
        print(f"| {what} |", " | ".join(f"{sent.writes} | {sent.statements} | {sent.round_trips or ''}" for sent in each), "|")
    for what in options.callers:
        for storage, found in measured.items():
            print(f"\n{what}, {storage}:\n")
            for (statement, callers), times in found[what].by_caller.most_common():
                print(f"{times:4} {statement}\n     {callers}")


if __name__ == "__main__":
    main()
