"""Measure what requests cost in stores of different sizes: `python -m benchmarks.growth [IMAGES ...] [--postgresql | --database URL]`.

For each size it makes a store of that many images of two layers, of which one is in every image, and sends each request to the
application in this process. An image has 3 labels. The rows are recorded as a load records them; the layers have no files, since no
request here reads one. A database of PostgreSQL is then vacuumed, which it would do itself within minutes. The output is a table in
Markdown: the shortest of five times in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from http import HTTPStatus
from itertools import islice
from urllib.parse import urlencode

from flask.testing import FlaskClient
from sqlalchemy import create_engine, text

from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.app.wiring import open_engine, prepare_store
from stowage.services.metadata.records import Edge, Kind, LayerFacts, ManifestDocument, Role
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci import mediatypes
from stowage.services.oci.config import ImageConfig
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from tests.postgresql import running_cluster

_BATCH = 500
_RUNS = 5
_BASE = Digest.of(b"the layer of all images")
_FIRST = 1_600_000_000


def name(number: int) -> str:
    """The repository of one image, as a client calls it."""
    return f"team{number % 100}/app{number}"


def fill(metadata: MetadataStore, images: int, *, first: int = 0) -> None:
    """Record images from a number on, a minute apart, until there are this many."""
    with metadata.write() as tx:
        tx.graph.add_blob(_BASE, 50_000_000, 1)
        tx.graph.add_layer(_BASE, LayerFacts(Digest.of(b"base"), 100_000_000))
    numbers = iter(range(first, images))
    while batch := list(islice(numbers, _BATCH)):
        made = [_make(number) for number in batch]
        with metadata.write() as tx:
            tx.graph.add_blobs({descriptor.digest: descriptor.size for _, _, parts, _ in made for descriptor in parts}, 1)
            tx.graph.add_layers({layer: LayerFacts(Digest.of(layer.hex.encode()), 2000) for *_, layer in made})
            tx.graph.add_manifests((document, config) for document, config, *_ in made)
            for number, (document, *_) in zip(batch, made, strict=True):
                target = Descriptor(document.media_type, document.digest, 600)
                tx.images.put(f"docker.io/{name(number)}:1", target, time.time_ns())


def _make(number: int) -> tuple[ManifestDocument, bytes, list[Descriptor], Digest]:
    """A manifest, its config, the blobs to record, and its own layer."""
    own = Descriptor(mediatypes.OCI_LAYER_GZIP, Digest.of(f"layer {number}".encode()), 1000)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_FIRST + 60 * number))
    labels = {"team": f"team{number % 1000}", "number": str(number), "org.opencontainers.image.title": name(number)}
    document = {"architecture": "amd64", "os": "linux", "created": created, "config": {"Labels": labels}, "rootfs": {"type": "layers"}}
    raw = json.dumps(document).encode()
    config = Descriptor(mediatypes.OCI_CONFIG, Digest.of(raw), len(raw))
    layers = (Descriptor(mediatypes.OCI_LAYER_GZIP, _BASE, 50_000_000), own)
    parsed = ImageConfig.parse(raw)
    manifest = ManifestDocument(
        Digest.of(f"manifest {number}".encode()),
        mediatypes.OCI_MANIFEST,
        Kind.IMAGE,
        parsed.platform,
        parsed.created,
        labels,
        (Edge(Role.CONFIG, config), *(Edge(Role.LAYER, layer) for layer in layers)),
    )
    return manifest, raw, [Descriptor(mediatypes.OCI_MANIFEST, manifest.digest, 600), config, own], own.digest


def requests(images: int) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What is measured: a description, and the method and path of each request."""
    last = images - 1
    image = f"{name(last)}:1"

    def listing(**filters: str) -> str:
        return "/v1.45/images/json?" + urlencode({"filters": json.dumps({key: [value] for key, value in filters.items()})})

    yield "inspect", [("GET", f"/v1.45/images/{image}/json")]
    yield "history", [("GET", f"/v1.45/images/{image}/history")]
    yield "tag and untag", [("POST", f"/v1.45/images/{image}/tag?repo=again&tag=1"), ("DELETE", "/v1.45/images/again:1")]
    yield "list NAME", [("GET", listing(reference=name(last)))]
    yield "list NAME:TAG", [("GET", listing(reference=image))]
    yield "list team5/app?", [("GET", listing(reference="team5/app?"))]
    yield "list */NAME", [("GET", listing(reference=f"*/app{last}"))]
    yield "dangling=true", [("GET", listing(dangling="true"))]
    yield "label=number=N", [("GET", listing(label=f"number={last}"))]
    yield "label!=team", [("GET", listing(**{"label!": "team"}))]
    yield "since, 3 images", [("GET", listing(since=f"{name(last - 3)}:1"))]
    yield "before, 3 images", [("GET", listing(before=f"{name(3)}:1"))]
    yield "df, totals", [("GET", "/v1.52/system/df?verbose=0")]
    yield "info", [("GET", "/v1.45/info")]
    yield "prune, finds nothing", [("POST", "/v1.45/images/prune")]
    yield "freed by 2 images", [("GET", f"/stowage/disk/freed?image={image}&image={name(0)}:1")]
    yield "page, one image", [("GET", f"/ui/images/{image}")]
    yield "page, find a digest", [("GET", f"/ui/find?q={Digest.of(f'layer {last}'.encode()).hex[:12]}")]
    yield "page, find a diff_id", [("GET", f"/ui/layers/{Digest.of(Digest.of(f'layer {last}'.encode()).hex.encode()).hex[:12]}")]
    yield "page, what to delete", [("GET", "/ui/free?want=1GB")]
    yield "page, overview", [("GET", "/ui/")]
    yield "page, images by size", [("GET", "/ui/images?sort=-size")]
    yield "page, images of a team", [("GET", "/ui/images?reference=team5/*&sort=name")]
    yield "page, images of a layer", [("GET", f"/ui/layers/{_BASE}")]
    yield "page, family", [("GET", "/ui/family")]
    yield "list all", [("GET", "/v1.45/images/json")]
    yield "df, items", [("GET", "/v1.52/system/df?verbose=1")]


def shortest(act: Callable[[], object]) -> float:
    """The shortest time of several runs in milliseconds."""
    times = []
    for _ in range(_RUNS):
        begun = time.perf_counter()
        act()
        times.append(time.perf_counter() - begun)
    return 1000 * min(times)


def send(client: FlaskClient, several: list[tuple[str, str]]) -> None:
    """Send requests, and read and forget the answers."""
    for method, path in several:
        answer = client.open(path, method=method)
        for _ in answer.response:
            pass
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise SystemExit(f"{method} {path}: {answer.status}")


def measure(images: int, database: str | None) -> dict[str, float]:
    """Milliseconds per request in a store of this size; its folder goes afterwards."""
    with tempfile.TemporaryDirectory() as root:
        settings = {"STOWAGE_ROOT": root, "STOWAGE_FAMILY_IMAGES": "1000000"} | ({"STOWAGE_DATABASE_URL": database} if database else {})
        os.environ |= settings
        config = Config.from_environ(settings)
        prepare_store(config)
        with open_engine(config) as engine:
            fill(engine.metadata, images)
        if database:
            vacuum(database)
        client = create_app(config).test_client()
        found = {what: shortest(partial(send, client, several)) for what, several in requests(images)}
    found["peak memory, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def vacuum(database: str) -> None:
    """Remove what updates have left in the tables and indexes of PostgreSQL, and count what is in them."""
    with create_engine(database, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=int, default=[1_000, 10_000, 100_000])
    databases = parser.add_mutually_exclusive_group()
    databases.add_argument("--postgresql", action="store_true", help="on a server that is started for it; by default on SQLite")
    databases.add_argument("--database", help="the URL of an empty database, for one size")
    arguments = parser.parse_args()
    with running_cluster() if arguments.postgresql else nullcontext() as cluster:
        columns = {
            images: measure(images, cluster.create_database(f"images{images}") if cluster else arguments.database)
            for images in arguments.images
        }
    print("| request |", " | ".join(f"{images:,} images" for images in columns), "|")
    print("|---|" + "---|" * len(columns))
    for what in next(iter(columns.values())):
        print(f"| {what} |", " | ".join(f"{found[what]:.1f}" for found in columns.values()), "|")


if __name__ == "__main__":
    main()
