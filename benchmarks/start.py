"""Measure starts: `python -m benchmarks.start [--runs N]`.

Prints the CPU seconds of `stowage --help`, and those from `stowage serve` to the first answered ping on an existing store, of all processes
of the service: the median and the range.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.engines import stowage


def cpu_of_help() -> float:
    """CPU seconds of a process that prints the help."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "stowage", "--help"], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def cpu_of_start(root: Path) -> float:
    """CPU seconds of a service until it answers."""
    with stowage(root) as engine:
        return engine.cpu_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="how often each is measured (default 10)")
    runs = range(parser.parse_args().runs)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as root:
        cpu_of_start(Path(root))  # makes the store
        for name, seconds in {
            "stowage --help": [cpu_of_help() for _ in runs],
            "stowage serve": [cpu_of_start(Path(root)) for _ in runs],
        }.items():
            print(f"{name}: {median(seconds):.2f} CPU s ({min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    main()
