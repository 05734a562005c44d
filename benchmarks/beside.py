"""Load, save and pull one image beside Debian's dockerd: `python -m benchmarks.beside [--layer FILE ...] [--turns N]`, as root.

Both run all the time. In each turn every engine does each operation, in random order. Before a load and a pull its images are deleted,
before a save the archive is loaded. Everything is also requested of Stowage over TLS, with a client certificate. Options and images are
those of `python -m benchmarks`. The output is a table in Markdown: medians of wall and CPU seconds, and how many times as long as over
Stowage's unix socket in the same turn, with the least and the most.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.__main__ import arguments
from benchmarks.engines import Cost, Engine, dockerd, stowage, wipe
from benchmarks.registry import registry, skopeo
from benchmarks.workload import large_image, made_layers
from tests.conformance.certificates import certify, client_context, tls_settings
from tests.ports import free_port

Turn = dict[str, dict[str, Cost]]
"""The cost of each operation for each engine."""


def start(folder: Path, running: ExitStack) -> list[Engine]:
    """Stowage on a unix socket, the same over TLS, and dockerd."""
    certify(folder, "authority")
    for name in ("server", "client"):
        certify(folder, name, "authority")
    port = free_port()
    binds = f"unix:{folder}/stowage.sock,127.0.0.1:{port}"
    engine = running.enter_context(stowage(folder / "stowage", binds, **tls_settings(folder)))
    over_tls = replace(engine, name="stowage, TLS", address=f"localhost:{port}", tls=client_context(folder, "client"))
    return [engine, over_tls, running.enter_context(dockerd(folder / "dockerd"))]


def load(archive: Path) -> Callable[[Engine], object]:
    return lambda engine: engine.request("POST", "/v1.45/images/load", archive)


def operations(folder: Path, address: str) -> Iterator[tuple[str, Callable[[Engine], object], Callable[[Engine], object]]]:
    """Each operation with its name, and what comes before it."""
    archives = [(f"{form} layers", folder / f"{form}.tar") for form in ("plain", "gzip")]
    for form, archive in archives:
        yield f"load, {form}", load(archive), wipe
    for form, archive in archives:
        yield f"save, {form}", lambda engine: engine.request("GET", "/v1.45/images/large:1/get"), load(archive)
    yield "pull", lambda engine: engine.request("POST", f"/v1.45/images/create?fromImage={address}/bench/large:1"), wipe


def take_turn(engines: list[Engine], folder: Path, address: str, only: list[str]) -> Turn:
    costs: Turn = {}
    for operation, act, before in operations(folder, address):
        if only and operation not in only:
            continue
        costs[operation] = {}
        for engine in random.sample(engines, len(engines)):
            before(engine)
            os.sync()
            cpu, began = engine.cpu_seconds(), time.perf_counter()
            act(engine)
            costs[operation][engine.name] = Cost(time.perf_counter() - began, engine.cpu_seconds() - cpu)
    return costs


def table(turns: list[Turn], names: list[str]) -> Iterator[str]:
    yield "| operation | " + " | ".join(f"{name} wall s | CPU s" for name in names) + " |"
    yield "|---" * (1 + 2 * len(names)) + "|"
    for operation in turns[0]:
        cells = [cell([turn[operation] for turn in turns], name, names[0], kind) for name in names for kind in ("wall", "cpu")]
        yield f"| {operation} | " + " | ".join(cells) + " |"


def cell(turns: list[dict[str, Cost]], name: str, first: str, kind: str) -> str:
    """The median of one kind of seconds, and of their multiples of the first engine's in the same turn, with the least and the most."""
    middle = f"{median(getattr(costs[name], kind) for costs in turns):.2f}"
    times = [getattr(costs[name], kind) / getattr(costs[first], kind) for costs in turns]
    return middle if name == first else f"{middle} ({median(times):.1f}x, {min(times):.1f} to {max(times):.1f})"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--turns", type=int, default=5, help="default 5")
    parser.add_argument("--only", action="append", default=[], metavar="OPERATION", help="such as `pull` (default: all); may be repeated")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as temporary, registry() as address, ExitStack() as running:
        folder = Path(temporary)
        layers = options.layer or made_layers(folder, options.size)
        for form in ("plain", "gzip"):
            large_image(folder / f"{form}.tar", layers, compressed=form == "gzip")
        skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{folder}/gzip.tar", f"docker://{address}/bench/large:1")
        engines = start(folder, running)
        turns = [take_turn(engines, folder, address, options.only) for _ in range(options.turns)]
        print("\n".join(table(turns, [engine.name for engine in engines])))
        sizes = [(folder / f"{form}.tar").stat().st_size >> 20 for form in ("plain", "gzip")]
        print(f"\nThe archives have {sizes[0]} and {sizes[1]} MiB.")


if __name__ == "__main__":
    main()
