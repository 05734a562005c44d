"""How long the docker CLI takes for a large image whose blobs are in a folder, and in a bucket of SeaweedFS on the same machine.

The registry is a docker-registry on the same machine. Each figure is the median of three turns, in which folder and bucket alternate.

`python -m benchmarks.bucket [MIB]`
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.registry import registry
from tests.seaweedfs import Seaweed, running_seaweed

_TURNS = 3
_STOWAGE = Path(sys.executable).with_name("stowage")


def main() -> None:
    """Print a table in seconds: a line for each store."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with running_seaweed() as server, registry() as host, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        (folder / "files/random").write_bytes(os.urandom(size << 20))
        subprocess.run(["tar", "-C", folder / "files", "-cf", folder / "image.tar", "."], check=True)
        taken: dict[str, list[dict[str, float]]] = {"folder": [], "bucket": []}
        for _ in range(_TURNS):
            for kind, found in taken.items():
                found.append(_measure(kind, folder, server, f"{host}/{kind}:1"))
    steps = list(taken["folder"][0])
    print(f"| | {' | '.join(steps)} |", "|---" * (len(steps) + 1) + "|", sep="\n")
    for kind, found in taken.items():
        print(f"| {kind} |", " | ".join(f"{median(turn[step] for turn in found):.2f}" for step in steps), "|")


def _measure(kind: str, folder: Path, server: Seaweed, image: str) -> dict[str, float]:
    """The seconds of each step, on a new store."""
    archive = str(folder / "saved.tar")
    steps = {
        "import": ("import", str(folder / "image.tar"), image),
        "save": ("save", "-o", archive, image),
        "push": ("push", image),
        "delete": ("rmi", image),
        "pull": ("pull", image),
        "delete ": ("rmi", image),
        "load": ("load", "-i", archive),
    }
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as root:
        environ = {**os.environ, **server.environ(), "STOWAGE_ROOT": root}
        if kind == "bucket":
            environ["STOWAGE_CONTENT_URL"] = server.url(server.create_bucket())
        socket = Path(root) / "stowage.sock"
        with subprocess.Popen([_STOWAGE, "serve"], env=environ, stderr=subprocess.DEVNULL) as service:
            while not socket.exists() and service.poll() is None:
                time.sleep(0.05)
            for step, command in steps.items():
                began = time.monotonic()
                subprocess.run(["docker", "-H", f"unix://{socket}", *command], check=True, stdout=subprocess.DEVNULL)
                seconds[step] = time.monotonic() - began
            service.terminate()
    del seconds["delete "]
    return seconds


if __name__ == "__main__":
    main()
