"""Measure looks into the files of an image: `python -m benchmarks.files --layer FOLDER/*.tar`, or with `--files 250000`.

The image has the given layers, uncompressed tars, compressed with gzip, or five layers with so many empty files named as those of a large
`node_modules`; a second image lacks the last one. Each first look is into a new
store of a service with one worker. The output is a table in Markdown: wall and CPU seconds (the median of three first looks, the mean of 20
others), and the peak memory of all processes of the service.
"""

from __future__ import annotations

import io
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.__main__ import arguments
from benchmarks.engines import Cost, Engine, Meter, stowage
from benchmarks.workload import Archive, made_layers

_FIRSTS, _OTHERS = 3, 20
_MADE_LAYERS, _FILES_IN_PACKAGE = 5, 30
_FILES = "/stowage/images/large:1/files"
_LOOKS = {
    "the same again": _FILES,
    "a directory": f"{_FILES}?path=/usr/lib",
    "all files, largest first": f"{_FILES}?view=flat",
    "a search": f"{_FILES}?search=python",
    "wasted bytes": f"{_FILES}?view=wasted",
    "what the last layer did": f"{_FILES}?layer={{last}}",
    "what a layer in the middle did": f"{_FILES}?layer=1",
    "difference of the two images": "/stowage/difference?left=large:0&right=large:1",
    "the page of it": "/ui/files/large:1",
}


@contextmanager
def _service(root: Path) -> Iterator[Engine]:
    os.environ["STOWAGE_WORKERS"] = "1"
    with stowage(root) as engine:
        yield engine


def _look(engine: Engine, path: str, times: int) -> Cost:
    """The mean of some looks."""
    with Meter(engine) as meter:
        for _ in range(times):
            engine.request("GET", path)
    return Cost(meter.cost.wall / times, meter.cost.cpu / times, meter.cost.peak)


def _first(archive: Path) -> Cost:
    """A first look in a new store."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder, _service(Path(folder)) as engine:
        engine.request("POST", "/v1.45/images/load", archive)
        return _look(engine, _FILES, 1)


def _measure(archive: Path, layers: int) -> dict[str, Cost]:
    firsts = sorted((_first(archive) for _ in range(_FIRSTS)), key=lambda cost: cost.wall)
    found = {"first look": firsts[_FIRSTS // 2]}
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        with _service(Path(folder)) as engine:
            engine.request("POST", "/v1.45/images/load", archive)
            _look(engine, _FILES, 1)
        with _service(Path(folder)) as engine:
            found["first look of another process"] = _look(engine, _FILES, 1)
            for name, look in _LOOKS.items():
                path = look.format(last=layers - 1)
                _look(engine, path, 1)
                found[name] = _look(engine, path, _OTHERS)
        print(f"kept lists: {_kept_bytes(Path(folder)) >> 10} KiB\n")
    return found


def _kept_bytes(folder: Path) -> int:
    """What the lists take in the database."""
    with closing(sqlite3.connect(folder / "stowage.db")) as database:
        return int(database.execute("SELECT sum(bytes) FROM layer_files").fetchone()[0])


def _members(layers: Iterable[bytes]) -> int:
    return sum(len(tarfile.open(fileobj=io.BytesIO(layer)).getmembers()) for layer in layers)


def _many_files(count: int) -> list[bytes]:
    """Layers of empty files."""
    layers = []
    for layer in range(_MADE_LAYERS):
        names = (
            f"usr/lib/node_modules/package-{layer}-{number // _FILES_IN_PACKAGE}/lib/dist/file-number-{number}.js"
            for number in range(count // _MADE_LAYERS)
        )
        layers.append(b"".join(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT) for name in names) + bytes(1024))
    return layers


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--files", type=int, help="make an image with so many files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.files:
            layers = _many_files(options.files)
        else:
            layers = [path.read_bytes() for path in options.layer or made_layers(folder, options.size)]
        writer = Archive(folder / "both.tar")
        writer.image("large:0", layers[:-1])
        writer.image("large:1", layers)
        writer.close()
        size = (folder / "both.tar").stat().st_size
        print(f"{_members(layers)} entries, {sum(map(len, layers)) >> 20} MiB, in an archive of {size >> 20} MiB")
        found = _measure(folder / "both.tar", len(layers))
    print("| look | wall ms | CPU ms | peak MiB |\n|---|---|---|---|")
    for look, cost in found.items():
        print(f"| {look} | {1000 * cost.wall:.0f} | {1000 * cost.cpu:.0f} | {cost.peak:.0f} |")


if __name__ == "__main__":
    main()
