"""How long the docker CLI takes for a large image whose blobs are in a folder, and in a bucket of SeaweedFS on the same machine.

`python -m benchmarks.bucket [MIB]`
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.seaweedfs import Seaweed, running_seaweed

_STOWAGE = Path(sys.executable).with_name("stowage")


def main() -> None:
    """Print a line for each store, in seconds."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with running_seaweed() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        (folder / "files/random").write_bytes(os.urandom(size << 20))
        subprocess.run(["tar", "-C", folder / "files", "-cf", folder / "image.tar", "."], check=True)
        for kind in ("folder", "bucket"):
            _measure(kind, folder, server)


def _measure(kind: str, folder: Path, server: Seaweed) -> None:
    environ = {**os.environ, **server.environ(), "STOWAGE_ROOT": str(folder / kind)}
    if kind == "bucket":
        environ["STOWAGE_CONTENT_URL"] = server.url(server.create_bucket())
    socket, archive = folder / kind / "stowage.sock", str(folder / "saved.tar")
    steps = (("import", str(folder / "image.tar"), "a:1"), ("save", "-o", archive, "a:1"), ("rmi", "a:1"), ("load", "-i", archive))
    with subprocess.Popen([_STOWAGE, "serve"], env=environ, stderr=subprocess.DEVNULL) as service:
        while not socket.exists() and service.poll() is None:
            time.sleep(0.05)
        shown: list[str] = []
        for step in steps:
            began = time.monotonic()
            subprocess.run(["docker", "-H", f"unix://{socket}", *step], check=True, stdout=subprocess.DEVNULL)
            shown.append(f"{step[0]} {time.monotonic() - began:.2f}")
        service.terminate()
    print(f"{kind}: {', '.join(shown)}")


if __name__ == "__main__":
    main()
