"""What several nodes do together, on one machine: PostgreSQL, SeaweedFS, nginx and a registry beside them, all on loopback.

    python -m benchmarks.nodes [--nodes 1 2] [--clients COUNT] [--seconds SECONDS]

Each client pulls an image of ten layers that nobody else has, and deletes it, again and again. Printed are the pulls a second, and for one
pull alone its statements and write transactions, counted in the log of PostgreSQL.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cluster import Nodes, running_nodes
from benchmarks.registry import registry
from tests.builders import Layout
from tests.conformance.recorded.archives import tar_of
from tests.ports import free_port

LAYERS = 10
LAYER_BYTES = 100_000
_EXECUTED = (b"LOG:  statement: ", b"LOG:  execute ")
_LOCK = b"pg_advisory_xact_lock(%d)" % int.from_bytes(b"stowage")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    print(
        f"| nodes | pulls a second, {options.clients} clients | a pull: statements | write transactions | seconds |\n|---|---|---|---|---|"
    )
    for count in options.nodes:
        with folder() as place, registry() as host, running_nodes(place, free_port(), count) as nodes:
            names = [stock(nodes, host, number, place) for number in range(options.clients)]
            statements, writes, seconds = count_statements(nodes, names[0])
            rate = measure(nodes, names, options.seconds)
            print(f"| {count} | {rate:.1f} | {statements} | {writes} | {seconds:.2f} |", flush=True)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder whose path is short, since sockets are in it."""
    place = Path(tempfile.mkdtemp(prefix="stowage-", dir="/var/tmp"))
    try:
        yield place
    finally:
        shutil.rmtree((place / "postgresql").resolve(), ignore_errors=True)
        shutil.rmtree(place)


def stock(nodes: Nodes, host: str, number: int, place: Path) -> str:
    """An image of its own in the registry; returns its name."""
    layout = Layout()
    layers = [tar_of({"data": random.Random(100 * number + layer).randbytes(LAYER_BYTES)}) for layer in range(LAYERS)]
    name = f"{host}/client{number}:1"
    layout.tag(layout.image(layers), name)
    environment = {**os.environ, "DOCKER_HOST": nodes.host, "DOCKER_CONFIG": str(place)}
    for command in (["load", "--quiet"], ["push", "--quiet", name], ["rmi", name]):
        content = layout.to_tar() if command[0] == "load" else None
        subprocess.run(["docker", *command], env=environment, input=content, check=True, stdout=subprocess.DEVNULL)
    return name


def count_statements(nodes: Nodes, name: str) -> tuple[int, int, float]:
    """The statements and write transactions of one pull, and its seconds without counting."""
    began = time.monotonic()
    ask(nodes, "POST", pull_of(name))
    seconds = time.monotonic() - began
    ask(nodes, "DELETE", f"/images/{name}")
    log = nodes.postgresql.folder / "log"
    nodes.postgresql.execute("ALTER SYSTEM SET log_statement = 'all'")
    nodes.postgresql.execute("SELECT pg_reload_conf()")
    time.sleep(1)
    before = log.stat().st_size
    ask(nodes, "POST", pull_of(name))
    with log.open("rb") as lines:
        lines.seek(before)
        told = lines.read()
    nodes.postgresql.execute("ALTER SYSTEM RESET log_statement")
    nodes.postgresql.execute("SELECT pg_reload_conf()")
    ask(nodes, "DELETE", f"/images/{name}")
    return sum(told.count(word) for word in _EXECUTED), told.count(_LOCK), seconds


def measure(nodes: Nodes, names: list[str], seconds: float) -> float:
    """Pulls a second of all clients together."""
    until = time.monotonic() + seconds
    counts = [0] * len(names)

    def work(number: int) -> None:
        while time.monotonic() < until:
            ask(nodes, "POST", pull_of(names[number]))
            ask(nodes, "DELETE", f"/images/{names[number]}")
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(names))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


def pull_of(name: str) -> str:
    repository, _, tag = name.rpartition(":")
    return f"/images/create?fromImage={repository}&tag={tag}"


def ask(nodes: Nodes, method: str, path: str) -> None:
    """Send a request through nginx, and fail if it does."""
    connection = http.client.HTTPConnection("127.0.0.1", nodes.port, timeout=120)
    connection.request(method, path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != http.client.OK or b"errorDetail" in content:
        raise SystemExit(f"{method} {path}: {answer.status} {content.decode()[-300:]}")


if __name__ == "__main__":
    main()
