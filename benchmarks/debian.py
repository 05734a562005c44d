"""Layers of real files: `python -m benchmarks.debian FOLDER` writes four uncompressed tars, as `--layer` takes them.

They are what a Dockerfile of four steps would make: Debian's minbase with a few tools, then three steps that add packages. Each has the
members of an mmdebstrap root file system that are missing from the one before it, or have other content there. This needs Debian's
`mmdebstrap` and takes a few minutes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

STEPS = (
    "ca-certificates,curl,git",
    "build-essential,cmake,gdb",
    "default-jdk-headless,maven",
    "python3-matplotlib,python3-pandas,python3-scipy",
)
SUITE = "trixie"
EPOCH = "1767225600"


def bootstrap(path: Path, packages: str) -> None:
    """Write the root file system with these packages."""
    command = ["mmdebstrap", "--variant=minbase", f"--include={packages}", SUITE, str(path)]
    subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})


def identity(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[object, ...]:
    """What a member is, except for its time."""
    content = archive.extractfile(member) if member.isfile() else None
    digest = hashlib.sha256(content.read()).digest() if content else b""
    return member.type, member.mode, member.linkname, digest


def write_layer(path: Path, root: Path, below: dict[str, tuple[object, ...]]) -> None:
    """Write the members of `root` that are not among those `below`, and add them there."""
    with tarfile.open(root) as archive, tarfile.open(path, "w") as layer:
        for member in archive:
            found = identity(archive, member)
            if below.get(member.name) != found:
                below[member.name] = found
                layer.addfile(member, archive.extractfile(member) if member.isfile() else None)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    below: dict[str, tuple[object, ...]] = {}
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for number in range(len(STEPS)):
            root = Path(temporary) / f"root{number}.tar"
            bootstrap(root, ",".join(STEPS[: number + 1]))
            write_layer(folder / f"layer{number}.tar", root, below)
            root.unlink()


if __name__ == "__main__":
    main()
