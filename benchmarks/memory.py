"""Measure the memory of a service on a large store: `python -m benchmarks.memory [--images N] [--postgresql]`.

The store is one of `benchmarks.growth`. The service has default settings, so two workers and their parent, and metrics. The output is a
table in Markdown: MiB (sum of PSS, ten times a second) after the start, the peak while each request of `benchmarks.growth` is sent three
times and `/metrics` after each, and the peak while four clients read the list of all images at once. The family of more images than
`STOWAGE_FAMILY_IMAGES` is refused, so measure it with `--images 20000`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
from contextlib import nullcontext, suppress
from pathlib import Path

from benchmarks.engines import Engine, Meter, stowage
from benchmarks.growth import fill, requests, vacuum
from stowage.app.settings import Config
from stowage.app.wiring import open_engine, prepare_store
from tests.postgresql import running_cluster

LIST = "/v1.45/images/json"


def send_all(engine: Engine, images: int) -> None:
    for what, several in requests(images):
        for _ in range(3):
            for method, path in several:
                with suppress(RuntimeError) if what == "page, family" else nullcontext():
                    engine.request(method, path)
            engine.request("GET", "/metrics")


def list_at_once(engine: Engine) -> None:
    clients = [threading.Thread(target=engine.request, args=("GET", LIST)) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


def make_store(root: Path, database: str, images: int) -> None:
    config = Config.from_environ({"STOWAGE_ROOT": str(root), "STOWAGE_DATABASE_URL": database})
    prepare_store(config)
    with open_engine(config) as engine:
        fill(engine.metadata, images)
    if database:
        vacuum(database)


def measure(images: int, database: str) -> tuple[float, float, float]:
    """MiB after the start, and the two peaks; the folder of the store goes afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        maker = multiprocessing.get_context("spawn").Process(target=make_store, args=(root, database, images))
        maker.start()  # a process of its own, which holds the store until it ends
        maker.join()
        with stowage(root, database=database, STOWAGE_METRICS="on") as service:
            started = service.pss_mib()
            with Meter(service) as each:
                send_all(service, images)
            with Meter(service) as at_once:
                list_at_once(service)
        return started, each.cost.peak, at_once.cost.peak


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--postgresql", action="store_true", help="on a server that is started for it; by default on SQLite")
    options = parser.parse_args()
    with running_cluster() if options.postgresql else nullcontext() as cluster:
        found = measure(options.images, cluster.create_database("memory") if cluster else "")
    print("| images | after the start | each request, three times | four lists at once |")
    print("|---|---|---|---|")
    print(f"| {options.images:,} |", " | ".join(f"{peak:.0f}" for peak in found), "|")


if __name__ == "__main__":
    main()
