"""Measure a fresh Stowage, and beside it other engines: `python -m benchmarks [--engine NAME=ADDRESS=PID ...] [--registry HOST:PORT]`.

ADDRESS is `unix:PATH` or `HOST:PORT`. Every image of the engines that are named is deleted. The figures are a table in Markdown: wall seconds
(and how many times faster Stowage was in the same run), CPU seconds, peak memory (sum of PSS over all processes of the service).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.engines import Cost, Engine, Meter
from benchmarks.workload import file_system, large_image, many_images

RUNS = 3
LISTED_IMAGES = 1000


@contextmanager
def stowage(root: Path) -> Iterator[Engine]:
    """A service with default settings on a unix socket."""
    address = f"unix:{root}/stowage.sock"
    process = subprocess.Popen(
        [sys.executable, "-c", "from app.cli import main; main()", "serve"], env={**os.environ, "STOWAGE_ROOT": str(root), "STOWAGE_BIND": address}, stderr=subprocess.DEVNULL
    )
    while not (root / "stowage.sock").exists():
        time.sleep(0.1)
    time.sleep(1)
    yield Engine("stowage", address, process.pid)
    process.terminate()
    process.wait()


def wipe(engine: Engine) -> None:
    """Delete every image and what nothing needs any more."""
    engine.request("POST", "/v1.45/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D")


def measure(engine: Engine, act: Callable[[], object], before: Callable[[], object] = lambda: None) -> Cost:
    """The run with the median wall time of three."""
    costs = []
    for _ in range(RUNS):
        before()
        with Meter(engine) as meter:
            act()
        costs.append(meter.cost)
    return sorted(costs, key=lambda cost: cost.wall)[RUNS // 2]


def transfers(engine: Engine, folder: Path, pulled: str | None) -> dict[str, Cost]:
    """Load, save, import and pull of the large image."""
    found = {}
    for form in ("plain", "gzip"):
        load = lambda form=form: engine.request("POST", "/v1.45/images/load", folder / f"{form}.tar")  # noqa: E731
        found[f"load, {form} layers"] = measure(engine, load, lambda: wipe(engine))
    found["save"] = measure(engine, lambda: engine.request("GET", "/v1.45/images/large:1/get"))
    imported = "/v1.45/images/create?fromSrc=-&repo=imported&tag=1"
    found["import 150 MiB"] = measure(engine, lambda: engine.request("POST", imported, folder / "rootfs.tar"), lambda: wipe(engine))
    if pulled:
        name, tag = pulled.rsplit(":", 1)
        pull = lambda: engine.request("POST", f"/v1.45/images/create?fromImage={name}&tag={tag}")  # noqa: E731
        found["pull"] = measure(engine, pull, lambda: wipe(engine))
        found["pull again"] = measure(engine, pull)
    wipe(engine)
    return found


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


def table(results: dict[str, dict[str, Cost]]) -> str:
    """Rows are operations, columns engines; the first engine is the one the others are compared with."""
    names = list(results)
    first = results[names[0]]
    rows = ["| operation | " + " | ".join(f"{name} wall s | CPU s | peak MiB" for name in names) + " |", "|---" * (1 + 3 * len(names)) + "|"]
    for operation, base in first.items():
        cells = []
        for name in names:
            cost = results[name].get(operation)
            factor = f" ({cost.wall / base.wall:.1f}x)" if cost and name != names[0] else ""
            cells.append(f"{cost.wall:.3f}{factor} | {cost.cpu:.3f} | {cost.peak:.0f}" if cost else "- | - | -")
        rows.append(f"| {operation} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def prepare(folder: Path, mebibytes: int) -> None:
    large_image(folder / "plain.tar", "large:1", mebibytes, compressed=False)
    large_image(folder / "gzip.tar", "large:1", mebibytes, compressed=True)
    (folder / "rootfs.tar").write_bytes(file_system(150, 77))
    many_images(folder / "many.tar", LISTED_IMAGES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", action="append", default=[], metavar="NAME=ADDRESS=PID", help="another engine to measure beside")
    parser.add_argument("--registry", help="a registry on loopback that skopeo may fill, for the pull")
    parser.add_argument("--size", type=int, default=500, help="MiB of the large image's archive (default 500)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as temporary:
        folder = Path(temporary)
        prepare(folder, options.size)
        pulled = f"{options.registry}/bench/large:1" if options.registry else None
        if pulled:
            subprocess.run(["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", f"docker-archive:{folder}/gzip.tar", f"docker://{pulled}"], check=True)
        results: dict[str, dict[str, Cost]] = {}
        with stowage(folder / "root") as engine:
            results[engine.name] = {**transfers(engine, folder, pulled), **listing(engine, folder)}
        for given in options.engine:
            name, address, pid = given.split("=")
            engine = Engine(name, address, int(pid))
            results[name] = {**transfers(engine, folder, pulled), **listing(engine, folder)}
    print(table(results))


if __name__ == "__main__":
    main()
