"""Pull with two versions in turns: `python -m benchmarks.versions --before FOLDER [--layer FILE ...] [--turns N]`.

FOLDER is a checkout of another revision, which runs with the libraries of this one. In each turn both versions pull the large image from
the same docker-registry into a new store, and then as many small images, one after the other. The output is a table in Markdown of CPU
seconds and wall seconds: the median of each version, and of the ratio within a turn with its middle half.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.__main__ import arguments
from benchmarks.engines import Cost, Engine, serving
from benchmarks.registry import registry, skopeo
from benchmarks.workload import large_image, made_layers, many_images

_SMALL = 60
_PULLS = {"the large image": ["large"], f"{_SMALL} small images": [f"many{number}" for number in range(_SMALL)]}


@contextmanager
def version(checkout: Path, folder: Path) -> Iterator[Engine]:
    """A service that runs the code of this checkout, with a new store."""
    package, root = folder / "source" / "stowage", folder / "root"
    for each in (package, root):
        each.mkdir(parents=True)
    for path in [*(checkout / "app").iterdir(), checkout / "blueprints", checkout / "services"]:
        (package / path.name).symlink_to(path)
    bind = f"unix:{root}/stowage.sock"
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "STOWAGE_ROOT": str(root), "STOWAGE_BIND": bind}
    with serving("stowage", [sys.executable, "-m", "stowage", "serve"], bind, environment) as engine:
        yield engine


def pull(engine: Engine, address: str, names: list[str]) -> Cost:
    """The cost of these pulls, one after the other."""
    os.sync()
    before, begin = engine.cpu_seconds(), time.perf_counter()
    for name in names:
        engine.request("POST", f"/v1.45/images/create?fromImage={address}/bench/{name}:1")
    return Cost(time.perf_counter() - begin, engine.cpu_seconds() - before)


def turns(checkouts: list[Path], address: str, count: int) -> Iterator[dict[str, list[Cost]]]:
    """Per turn what each pull costs each version; every other turn begins with the second version."""
    for number in range(count):
        order = [0, 1] if number % 2 else [1, 0]
        costs: dict[str, list[Cost]] = {title: [Cost(0, 0), Cost(0, 0)] for title in _PULLS}
        for which in order:
            with (
                tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder,
                version(checkouts[which], Path(folder)) as engine,
            ):
                for title, names in _PULLS.items():
                    costs[title][which] = pull(engine, address, names)
        print(f"turn {number + 1}: {costs}", file=sys.stderr, flush=True)
        yield costs


def row(title: str, pairs: list[tuple[float, float]]) -> str:
    ratios = sorted(after / before for before, after in pairs)
    low, middle, high = statistics.quantiles(ratios, n=4)
    before, after = (statistics.median(each) for each in zip(*pairs, strict=True))
    return f"| {title} | {before:.2f} | {after:.2f} | {middle:.3f} ({low:.3f} to {high:.3f}) |"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--before", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--turns", type=int, default=10, help="default 10")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as temporary, registry() as address:
        folder = Path(temporary)
        large_image(folder / "large.tar", options.layer or made_layers(folder, options.size), compressed=True)
        many_images(folder / "many.tar", _SMALL)
        skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{folder}/large.tar", f"docker://{address}/bench/large:1")
        for name in _PULLS[f"{_SMALL} small images"]:
            source = f"docker-archive:{folder}/many.tar:{name}:1"
            skopeo("copy", "--dest-tls-verify=false", source, f"docker://{address}/bench/{name}:1")
        seen = list(turns([options.before.resolve(), Path(__file__).resolve().parents[1]], address, options.turns))
        print("| pull | before | after | ratio |\n|---|---|---|---|")
        for title in _PULLS:
            for amount in ("cpu", "wall"):
                pairs = [(getattr(turn[title][0], amount), getattr(turn[title][1], amount)) for turn in seen]
                print(row(f"{title}, {amount} s", pairs), flush=True)


if __name__ == "__main__":
    main()
