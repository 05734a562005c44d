"""Pull one image with several engines in turns: `python -m benchmarks.race [--layer FILE ...] [--turns N]`.

In each turn Stowage and, if installed, podman and (as root) dockerd pull the large image from the same docker-registry, each into a new
folder of its own. ext4 skips inodes that were deleted within the last minutes, one by one: unpacking files into a store that has just
been emptied takes up to eight times the system time. Options and images are those of `python -m benchmarks`. The output is a table in
Markdown: wall seconds, CPU seconds, and in brackets how many times as long as Stowage in the same turn. The last row has the medians.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

from benchmarks.__main__ import arguments
from benchmarks.engines import Cost, Engine, dockerd, stowage
from benchmarks.registry import registry, skopeo
from benchmarks.workload import MANIFEST, large_image, made_layers

Turn = dict[str, Cost]


def engine_pull(engine: Engine, image: str) -> Cost:
    os.sync()
    before, begin = engine.cpu_seconds(), time.perf_counter()
    engine.request("POST", f"/v1.45/images/create?fromImage={image}")
    return Cost(time.perf_counter() - begin, engine.cpu_seconds() - before)


def podman_pull(root: Path, image: str) -> Cost:
    podman = ["podman", "--root", f"{root}/store", "--runroot", f"{root}/run", "--storage-driver", "overlay"]
    subprocess.run([*podman, "info"], check=True, capture_output=True)
    os.sync()
    before, begin = _children_cpu(), time.perf_counter()
    subprocess.run([*podman, "pull", "--tls-verify=false", image], check=True, capture_output=True)
    return Cost(time.perf_counter() - begin, _children_cpu() - before)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pull_in_turn(folder: Path, image: str) -> Turn:
    """One pull by each installed engine, each into a new folder below this one."""
    costs: Turn = {}
    with stowage(folder / "stowage") as engine:
        costs["stowage"] = engine_pull(engine, image)
    if shutil.which("podman"):
        costs["podman"] = podman_pull(folder / "podman", image)
    if shutil.which("dockerd") and os.geteuid() == 0:
        with dockerd(folder / "dockerd") as engine:
            costs["dockerd"] = engine_pull(engine, image)
    return costs


def rows(turns: Iterator[Turn]) -> Iterator[str]:
    """A row of the table for each turn as it ends, and one of medians."""
    seen: list[Turn] = []
    for turn in turns:
        if not seen:
            yield "| turn | " + " | ".join(turn) + " |\n" + "|---" * (1 + len(turn)) + "|"
        seen.append(turn)
        yield row(str(len(seen)), turn, factors(turn))
    median = statistics.median
    middle = {name: Cost(median(turn[name].wall for turn in seen), median(turn[name].cpu for turn in seen)) for name in seen[0]}
    yield row("median", middle, {name: median(factors(turn)[name] for turn in seen) for name in factors(seen[0])})


def factors(turn: Turn) -> dict[str, float]:
    return {name: cost.wall / turn["stowage"].wall for name, cost in turn.items() if name != "stowage"}


def row(title: str, costs: Turn, times: dict[str, float]) -> str:
    cells = [f"{cost.wall:.2f}, {cost.cpu:.1f}" + (f" ({times[name]:.1f}x)" if name in times else "") for name, cost in costs.items()]
    return f"| {title} | " + " | ".join(cells) + " |"


def stored_bytes(address: str) -> int:
    """The size in bytes of the large image's layers at the registry, as compressed by skopeo."""
    request = Request(f"http://{address}/v2/bench/large/manifests/1", headers={"Accept": MANIFEST})
    with urlopen(request) as response:
        return sum(layer["size"] for layer in json.load(response)["layers"])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--turns", type=int, default=5, help="default 5")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as temporary, registry() as address:
        folder = Path(temporary)
        large_image(folder / "gzip.tar", options.layer or made_layers(folder, options.size), compressed=True)
        skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{folder}/gzip.tar", f"docker://{address}/bench/large:1")
        print(f"The layers have {stored_bytes(address) / 1e6:.0f} MB at the registry.\n")
        for line in rows(pull_in_turn(folder / str(number), f"{address}/bench/large:1") for number in range(options.turns)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
