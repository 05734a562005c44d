"""Measure short requests: `python -m benchmarks.requests [--turns N] [--seconds S] [--tcp] [--database URL]`.

In each turn a constant Flask view, `/_ping`, and inspect and history of one image are each requested for a while by eight clients, which
keep their connections. The view is served by gunicorn's own threaded worker with the service's numbers of workers and threads, behind the
service's log line. The output is a table in Markdown: the medians of answers per second and of the server's CPU milliseconds for each, and
of their ratios to those of the constant view in the same turn, with the middle half of these.
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.engines import Engine, serving, stowage
from benchmarks.workload import one_image
from stowage.settings import Config
from tests.ports import free_port

CLIENTS = 8
TARGETS = {
    "constant view": "/",
    "ping": "/_ping",
    "inspect": "/v1.45/images/one:1/json",
    "history": "/v1.45/images/one:1/history",
}


@dataclass(frozen=True)
class Rate:
    """What a turn measured: answers per second, and the server's CPU seconds for each."""

    per_second: float
    cpu: float


class Client:
    """A connection that sends the same request again as soon as it has the answer."""

    def __init__(self, address: str, path: str) -> None:
        kind, _, rest = address.partition(":")
        self.socket = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
        self.socket.connect(rest if kind == "unix" else (kind, int(rest)))
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: identity\r\nUser-Agent: benchmark\r\n\r\n".encode()
        self._received = b""

    def send(self) -> None:
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Take what has arrived, and return whether the answer is whole."""
        self._received += self.socket.recv(1 << 16)
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or len(body) < int(head.lower().partition(b"content-length:")[2].split(None, 1)[0]):
            return False
        if b" 200 " not in head[:14]:
            raise RuntimeError(self._received.decode())
        self._received = b""
        return True


def measure(engine: Engine, path: str, seconds: float) -> Rate:
    """Keep every client busy for a while."""
    clients = [Client(engine.address, path) for _ in range(CLIENTS)]
    with selectors.EpollSelector() as waiting:
        for client in clients:
            waiting.register(client.socket, selectors.EVENT_READ, client)
            client.send()
        cpu, begin, answers = engine.cpu_seconds(), time.perf_counter(), 0
        while (passed := time.perf_counter() - begin) < seconds:
            for key, _ in waiting.select():
                if key.data.receive():
                    answers += 1
                    key.data.send()
        cpu = engine.cpu_seconds() - cpu
    for client in clients:
        client.socket.close()
    return Rate(answers / passed, cpu / answers)


@contextmanager
def constant_view(bind: str) -> Iterator[Engine]:
    """gunicorn with the view of `benchmarks/constant.py`."""
    config = Config.from_environ({})
    numbers = [f"--workers={config.workers}", f"--threads={config.threads}", "--keep-alive=75", "--worker-class=gthread", "--preload"]
    command = [sys.executable, "-m", "gunicorn", *numbers, f"--bind={bind}", "--no-control-socket", "benchmarks.constant:app"]
    with serving("constant view", command, bind, dict(os.environ), probe="/") as engine:
        yield engine


def table(turns: list[dict[str, Rate]]) -> Iterator[str]:
    yield "| request | per second | of the constant view | CPU ms | of the constant view |"
    yield "|---|---|---|---|---|"
    for name in TARGETS:
        rates = [turn[name] for turn in turns]
        constants = [turn["constant view"] for turn in turns]
        speed = [rate.per_second / constant.per_second for rate, constant in zip(rates, constants, strict=True)]
        cpu = [rate.cpu / constant.cpu for rate, constant in zip(rates, constants, strict=True)]
        middle = Rate(median(rate.per_second for rate in rates), median(rate.cpu for rate in rates))
        yield f"| {name} | {middle.per_second:.0f} | {spread(speed)} | {1000 * middle.cpu:.2f} | {spread(cpu)} |"


def spread(ratios: list[float]) -> str:
    """The median and the middle half."""
    low, middle, high = quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=15, help="default 15")
    parser.add_argument("--seconds", type=float, default=0.8, help="for each kind of request in a turn (default 0.8)")
    parser.add_argument("--tcp", action="store_true", help="over TCP on loopback instead of unix sockets")
    parser.add_argument("--database", default="", help="the URL of an empty database (default: SQLite)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as temporary, ExitStack() as running:
        folder = Path(temporary)
        binds = [f"127.0.0.1:{free_port()}" if options.tcp else f"unix:{folder}/{name}.sock" for name in ("stowage", "constant")]
        service = running.enter_context(stowage(folder / "root", binds[0], options.database))
        constant = running.enter_context(constant_view(binds[1]))
        one_image(folder / "one.tar")
        service.request("POST", "/v1.45/images/load", folder / "one.tar")
        servers = {name: constant if path == "/" else service for name, path in TARGETS.items()}
        turns = [{name: measure(servers[name], path, options.seconds) for name, path in TARGETS.items()} for _ in range(options.turns)]
        print("\n".join(table(turns)))


if __name__ == "__main__":
    main()
