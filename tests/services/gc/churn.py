"""A process that stores, names, untags and sweeps images until it is killed; it says each step before and after on stdout.

Run as a module with the folder of a store, a prefix for the names of this process, and a seed.
"""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path

from services.content.filesystem import FilesystemStore
from services.engine import Engine
from services.gc.collector import collect_garbage, sweep
from services.gc.leases import hold
from services.images.ingest import store_blob
from services.images.publish import assign_name, read_graph, record_graph
from services.metadata.session import SqlMetadataStore
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.oci.platform import Platform
from services.registry.client import RegistryClient
from tests.builders import Layout, make_layer

NAMES = 3


def open_store(root: Path) -> Engine:
    metadata = SqlMetadataStore(f"sqlite:///{root}/stowage.db")
    ticks = itertools.count(1)
    return Engine(FilesystemStore(root), metadata, RegistryClient(), Platform("linux", "amd64"), lambda: next(ticks))


def some_image(chance: random.Random) -> tuple[Layout, Descriptor]:
    """An image of layers that many others have too, alone or in an index."""
    layout = Layout()
    layers = [make_layer(f"layer{number}", 40_000) for number in chance.sample(range(4), 2)]
    image = layout.image(layers)
    return layout, Descriptor.from_json(layout.index([image, layout.attestation(image)]) if chance.random() < 0.5 else image)


def put(engine: Engine, chance: random.Random, name: str) -> None:
    layout, target = some_image(chance)
    with hold(engine.metadata, engine.content, name, keep_on_failure=True) as lease:
        for text, blob in layout.blobs.items():
            known = Digest.parse(text) if chance.random() < 0.5 else None
            store_blob(engine, lease, [blob[:20_000], blob[20_000:]], digest=known)
        graph = read_graph(engine, target)
        with engine.metadata.write() as tx:
            record_graph(tx, graph)
            assign_name(tx, name, target, engine.clock())


def untag(engine: Engine, name: str) -> None:
    with engine.metadata.write() as tx:
        record = tx.images.get(name)
        tx.images.delete(name)
    if record is not None:
        sweep(engine.metadata, engine.content, [record.target.digest])


def main(root: str, prefix: str, seed: str) -> None:
    engine, chance = open_store(Path(root)), random.Random(seed)
    while True:
        name = f"docker.io/library/{prefix}:{chance.randrange(NAMES)}"
        verb = chance.choice(["put", "put", "untag", "collect"])
        print("begin", verb, name, flush=True)
        if verb == "put":
            put(engine, chance, name)
        elif verb == "untag":
            untag(engine, name)
        else:
            collect_garbage(engine.metadata, engine.content, abandoned=True)
        print("done", verb, name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
