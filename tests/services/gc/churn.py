"""A process that stores, names, untags and sweeps images, takes platforms out of them, and breaks off, until it is killed.

It says each step before and after on stdout.

Run as a module with the folder of a store, the URL of its database, a prefix for the names of this process, and a seed.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.errors import Conflict, NotFound
from stowage.services.gc.collector import collect_garbage, sweep
from stowage.services.gc.leases import Lease, hold
from stowage.services.images.delete import delete_image
from stowage.services.intake.ingest import store_blob
from stowage.services.intake.small_blobs import SmallBlobs
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.store.graph import read_graph
from stowage.services.store.publish import assign_name, read_configs, record_graph
from stowage.services.transfer_board import FileBoard
from tests.builders import Json, Layout, make_layer
from tests.engines import LIMITS, downloads, memory_budget, metadata_store, registry_client

NAMES = 3
IMAGES = 6


def open_store(root: Path, url: str) -> Engine:
    metadata = metadata_store(url)
    ticks = itertools.count(1)
    impatient = dataclasses.replace(LIMITS, turn_seconds=0.005)
    return Engine(
        FilesystemStore(root),
        metadata,
        registry_client(),
        downloads(),
        Platform("linux", "amd64"),
        lambda: next(ticks),
        impatient,
        memory_budget(),
        FileBoard(root / "transfers"),
    )


def add_image(layout: Layout, chance: random.Random) -> Json:
    """One of a few images, with a layer that others have too and one of its own."""
    number = chance.randrange(IMAGES)
    layers = [make_layer(f"shared{number % 2}", 40_000), make_layer(f"own{number}", 40_000)]
    return layout.image(layers, compression="none", platform=chance.choice(["linux/amd64", "linux/arm64"]))


def add_own_image(layout: Layout, chance: random.Random, platform: str) -> Json:
    """An image that nobody else has, with a layer that others have too and one of its own."""
    label = str(chance.random())
    layers = [make_layer("shared0", 40_000), make_layer(label, 40_000)]
    return layout.image(layers, compression="none", platform=platform, config={"Labels": {"of": label}})


def some_image(chance: random.Random) -> tuple[Layout, set[str], Descriptor]:
    """A layout, what of it comes along, and the target: an image, one with its attestation, one beside another that stays away, or two."""
    layout = Layout()
    if chance.random() < 0.3:
        index = layout.index([add_own_image(layout, chance, platform) for platform in ("linux/amd64", "linux/arm64")])
        return layout, set(layout.blobs), Descriptor.from_json(index)
    image = add_image(layout, chance)
    kind = chance.choice(["alone", "attested", "partial"])
    if kind == "alone":
        return layout, set(layout.blobs), Descriptor.from_json(image)
    if kind == "attested":
        index = layout.index([image, layout.attestation(image)])
        return layout, set(layout.blobs), Descriptor.from_json(index)
    brought = set(layout.blobs)
    index = layout.index([image, add_image(layout, chance)])
    return layout, {*brought, index["digest"]}, Descriptor.from_json(index)


def store(engine: Engine, chance: random.Random, lease: Lease, layout: Layout, digests: Iterable[str]) -> None:
    if chance.random() < 0.5:
        small = SmallBlobs(engine, lease)
        for text in digests:
            small.add(layout.blobs[text], digest=Digest.parse(text))
        small.flush()
        return
    for text in digests:
        blob = layout.blobs[text]
        known = Digest.parse(text) if chance.random() < 0.5 else None
        store_blob(engine, lease, halves(blob, pause=chance.choice([0, 0, 0, 0.1])), digest=known)


def halves(blob: bytes, pause: float) -> Iterator[bytes]:
    """A blob in two parts; others go beside it in the pause."""
    yield blob[:20_000]
    if len(blob) > 20_000:
        time.sleep(pause)
    yield blob[20_000:]


def put(engine: Engine, chance: random.Random, name: str) -> None:
    layout, brought, target = some_image(chance)
    with hold(engine.metadata, engine.content, name, keep_on_failure=True) as lease:
        store(engine, chance, lease, layout, sorted(brought))
        graph = read_graph(engine, lease.digests(), target)
        with engine.metadata.write() as tx:
            record_graph(tx, graph, read_configs(engine.content, graph))
            assign_name(tx, name, target, engine.clock())


def break_off(engine: Engine, chance: random.Random, name: str) -> None:
    """Bring the documents of an image but not its layers, and leave them under a lease as a cancelled pull does."""
    layout, _, _ = some_image(chance)
    documents = [digest for digest, blob in layout.blobs.items() if blob.startswith(b"{")]
    with suppress(ConnectionError), hold(engine.metadata, engine.content, name, keep_on_failure=True) as lease:
        store(engine, chance, lease, layout, documents)
        raise ConnectionError


def untag(engine: Engine, name: str) -> None:
    with engine.metadata.write() as tx:
        record = tx.images.get(name)
        tx.images.delete([name])
    if record is not None:
        sweep(engine.metadata, engine.content, [record.target.digest])


def take_out(engine: Engine, chance: random.Random, name: str) -> None:
    """Remove one platform of an image, where it is there and nothing else needs it."""
    with suppress(NotFound, Conflict):
        delete_image(engine, name, force=True, platforms=[Platform("linux", chance.choice(["amd64", "arm64"]))])


def main(root: str, url: str, prefix: str, seed: str) -> None:
    engine, chance = open_store(Path(root), url), random.Random(seed)
    while True:
        name = f"docker.io/library/{prefix}:{chance.randrange(NAMES)}"
        verb = chance.choice(["put", "put", "put", "break", "untag", "untag", "platform", "platform", "collect"])
        print("begin", verb, name, flush=True)
        if verb == "put":
            put(engine, chance, name)
        elif verb == "break":
            break_off(engine, chance, name)
        elif verb == "untag":
            untag(engine, name)
        elif verb == "platform":
            take_out(engine, chance, name)
        else:
            collect_garbage(engine.metadata, engine.content)
        print("done", verb, name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
