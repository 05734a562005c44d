"""Measure a fresh Stowage and, for comparison, other engines: `python -m benchmarks [--engine NAME=ADDRESS=PID ...]`.

ADDRESS is `unix:PATH` or `HOST:PORT`. Every image of the named engines is deleted. They pull from and push to a docker-registry that is
started on loopback. They must treat it as insecure, as they treat loopback by default. The large image has the layers given with
`--layer`, uncompressed tar files, or generated ones. The output is a table in Markdown: wall seconds (and how many times faster
Stowage was in the same run), CPU seconds, peak memory (sum of PSS over all processes of the service).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.engines import Cost, Engine, Meter, stowage, wipe
from benchmarks.registry import registry, skopeo
from benchmarks.workload import file_system, large_image, made_layers, many_images, single_layers

RUNS = 3
LISTED_IMAGES = 1000


def measure(engine: Engine, act: Callable[[], object], before: Callable[[], object] = lambda: None) -> Cost:
    """The cost of the run with the median wall time of three."""
    costs = []
    for _ in range(RUNS):
        before()
        with Meter(engine) as meter:
            act()
        costs.append(meter.cost)
    return sorted(costs, key=lambda cost: cost.wall)[RUNS // 2]


def archives(engine: Engine, folder: Path) -> dict[str, Cost]:
    """Load, save and import."""
    found = {}
    for form in ("plain", "gzip"):
        load = lambda form=form: engine.request("POST", "/v1.45/images/load", folder / f"{form}.tar")  # noqa: E731
        found[f"load, {form} layers"] = measure(engine, load, lambda: wipe(engine))
    found["save"] = measure(engine, lambda: engine.request("GET", "/v1.45/images/large:1/get"))
    imported = "/v1.45/images/create?fromSrc=-&repo=imported&tag=1"
    found["import 150 MiB"] = measure(engine, lambda: engine.request("POST", imported, folder / "rootfs.tar"), lambda: wipe(engine))
    return found


def pulls(engine: Engine, address: str, layers: int) -> dict[str, Cost]:
    """Pull the large image, pull it again, and pull its layers as separate images, all at once."""

    def pull(name: str) -> None:
        engine.request("POST", f"/v1.45/images/create?fromImage={address}/bench/{name}&tag=1")

    def pull_layers() -> None:
        threads = [threading.Thread(target=pull, args=(f"layer{number}",)) for number in range(layers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = {"pull": measure(engine, lambda: pull("large"), lambda: wipe(engine))}
    found["pull again"] = measure(engine, lambda: pull("large"))
    found[f"{layers} pulls at once"] = measure(engine, pull_layers, lambda: wipe(engine))
    return found


def pushes(engine: Engine, folder: Path) -> dict[str, Cost]:
    """Push the large image to an empty registry."""
    engine.request("POST", "/v1.45/images/load", folder / "gzip.tar")
    costs = []
    for _ in range(RUNS):
        with registry() as address:
            engine.request("POST", f"/v1.45/images/large:1/tag?repo={address}/bench/large&tag=1")
            with Meter(engine) as meter:
                engine.request("POST", f"/v1.45/images/{address}/bench/large/push?tag=1")
            costs.append(meter.cost)
    return {"push": sorted(costs, key=lambda cost: cost.wall)[RUNS // 2]}


def skopeo_push(folder: Path) -> float:
    """Median wall seconds of `skopeo copy` of the same image from an OCI folder to an empty registry."""
    walls = []
    skopeo("copy", f"docker-archive:{folder}/gzip.tar", f"oci:{folder}/layout")
    for _ in range(RUNS):
        with registry() as address:
            begin = time.perf_counter()
            skopeo("copy", "--dest-tls-verify=false", f"oci:{folder}/layout", f"docker://{address}/bench/large:1")
            walls.append(time.perf_counter() - begin)
    return sorted(walls)[RUNS // 2]


def listing(engine: Engine, folder: Path) -> dict[str, Cost]:
    """`/images/json` of 1,000 images: the first answer, and the mean of 5 later ones."""
    engine.request("POST", "/v1.45/images/load", folder / "many.tar")
    with Meter(engine) as first:
        engine.request("GET", "/v1.45/images/json")
    with Meter(engine) as later:
        for _ in range(5):
            engine.request("GET", "/v1.45/images/json")
    wipe(engine)
    mean = Cost(later.cost.wall / 5, later.cost.cpu / 5, later.cost.peak)
    return {f"list {LISTED_IMAGES} images, first": first.cost, f"list {LISTED_IMAGES} images, later": mean}


def everything(engine: Engine, folder: Path, address: str, layers: int) -> dict[str, Cost]:
    return {**archives(engine, folder), **pulls(engine, address, layers), **pushes(engine, folder), **listing(engine, folder)}


def table(results: dict[str, dict[str, Cost]]) -> str:
    """A row for each operation and columns for each engine; the others are compared with the first engine."""
    names = list(results)
    first = results[names[0]]
    rows = [
        "| operation | " + " | ".join(f"{name} wall s | CPU s | peak MiB" for name in names) + " |",
        "|---" * (1 + 3 * len(names)) + "|",
    ]
    for operation, base in first.items():
        cells = []
        for name in names:
            cost = results[name].get(operation)
            factor = f" ({cost.wall / base.wall:.1f}x)" if cost and name != names[0] else ""
            cells.append(f"{cost.wall:.3f}{factor} | {cost.cpu:.3f} | {cost.peak:.0f}" if cost else "- | - | -")
        rows.append(f"| {operation} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def prepare(folder: Path, layers: list[Path]) -> None:
    large_image(folder / "plain.tar", layers, compressed=False)
    large_image(folder / "gzip.tar", layers, compressed=True)
    single_layers(folder / "layers.tar", layers)
    (folder / "rootfs.tar").write_bytes(file_system(150, 77))
    many_images(folder / "many.tar", LISTED_IMAGES)


def fill(address: str, folder: Path, layers: int) -> None:
    """Copy the images to be pulled into a registry."""
    skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{folder}/gzip.tar", f"docker://{address}/bench/large:1")
    for number in range(layers):
        source = f"docker-archive:{folder}/layers.tar:layer{number}:1"
        skopeo("copy", "--dest-tls-verify=false", source, f"docker://{address}/bench/layer{number}:1")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser of the options that determine the image."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layer", action="extend", nargs="+", type=Path, default=[], metavar="FILE", help="the layers of the large image")
    parser.add_argument("--size", type=int, default=500, help="MiB of the large image's archive, where no layers are given (default 500)")
    return parser


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--engine", action="append", default=[], metavar="NAME=ADDRESS=PID", help="another engine to measure beside")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as temporary, registry() as address:
        folder = Path(temporary)
        layers = options.layer or made_layers(folder, options.size)
        prepare(folder, layers)
        fill(address, folder, len(layers))
        results: dict[str, dict[str, Cost]] = {}
        with stowage(folder / "root") as engine:
            results[engine.name] = everything(engine, folder, address, len(layers))
        for given in options.engine:
            name, where, pid = given.split("=")
            results[name] = everything(Engine(name, where, int(pid)), folder, address, len(layers))
        print(table(results))
        print(
            f"\nThe large image has {(folder / 'gzip.tar').stat().st_size >> 20} MiB, "
            f"{(folder / 'plain.tar').stat().st_size >> 20} uncompressed."
        )
        print(f"skopeo copy of it to an empty registry: {skopeo_push(folder):.3f} s")


if __name__ == "__main__":
    main()
