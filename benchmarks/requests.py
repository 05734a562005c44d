"""Measure short requests: `python -m benchmarks.requests [--rounds N] [--seconds S] [--tcp] [--database URL]`.

A constant Flask view, `/_ping`, and inspect and history of one image are requested by eight clients, which keep their connections. All are
served by the same two workers (`benchmarks/constant.py`). In each round the clients connect anew, and request everything for a moment, in
random order. So whatever else the machine does, and however connections are spread over the workers, affects all of them.

The output is a table in Markdown: medians of answers per second, and of the CPU milliseconds of the service for each. Their ratios to those
of the constant view are formed in each round; of these it shows the median, and the interval that has the median with a confidence of 95%,
by bootstrap. `--gunicorn` adds the constant view in another process, under gunicorn's own threaded worker, without the service.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import constant
from benchmarks.engines import Engine, serving
from benchmarks.workload import one_image
from stowage.app.settings import Config
from tests.ports import free_port

CONFIG = Config.from_environ({})
CLIENTS = 8
VIEW, GUNICORN = "constant view", "constant view, gunicorn's worker"
TARGETS = {
    VIEW: constant.PATH,
    "ping": "/_ping",
    "inspect": "/v1.45/images/one:1/json",
    "history": "/v1.45/images/one:1/history",
}
SAMPLES = 2000


@dataclass(frozen=True)
class Rate:
    """What a moment measured: answers per second, CPU seconds of the service for each, and the share of the client in the CPU time."""

    per_second: float
    cpu: float
    client: float


class Server:
    """A running service, and the processes that answer."""

    def __init__(self, engine: Engine) -> None:
        self._address = engine.address
        while len(processes := engine.processes()) <= CONFIG.workers:  # one answers, and another has yet to begin
            time.sleep(0.1)
        self._processes = processes

    def connect(self) -> dict[int, socket.socket]:
        """As many connections as there are clients, by descriptor."""
        kind, _, rest = self._address.partition(":")
        connections = [socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) for _ in range(CLIENTS)]
        for connection in connections:
            connection.connect(rest if kind == "unix" else (kind, int(rest)))
        return {connection.fileno(): connection for connection in connections}

    def cpu_seconds(self) -> float:
        """To the nanosecond: the CPU clock of another process has this number (clock_getcpuclockid(3))."""
        return sum(time.clock_gettime(~process << 3 | 2) for process in self._processes)


def measure(server: Server, connections: dict[int, socket.socket], path: str, seconds: float) -> Rate:
    """Keep every client busy for a while. The client shares the machine with the service, so it only counts the bytes of an answer."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: identity\r\nUser-Agent: benchmark\r\n\r\n".encode()
    size = _answer_size(next(iter(connections.values())), request)
    missing = dict.fromkeys(connections, size)
    waiting = select.epoll()
    for descriptor in connections:
        waiting.register(descriptor, select.EPOLLIN)
    own, cpu, begin, answers = time.process_time(), server.cpu_seconds(), time.perf_counter(), 0
    for connection in connections.values():
        connection.send(request)
    while missing:
        is_over = time.perf_counter() - begin >= seconds
        for descriptor, _ in waiting.poll():
            missing[descriptor] -= len(connections[descriptor].recv(1 << 16))
            if missing[descriptor]:
                continue
            answers += 1
            if is_over:
                del missing[descriptor]
            else:
                missing[descriptor] = size
                connections[descriptor].send(request)
    passed, cpu, own = time.perf_counter() - begin, server.cpu_seconds() - cpu, time.process_time() - own
    waiting.close()
    return Rate(answers / passed, cpu / answers, own / (own + cpu))


def _answer_size(connection: socket.socket, request: bytes) -> int:
    """The bytes of each answer to this request: none of them has a part whose length changes."""
    connection.send(request)
    answer = b""
    while not (blank := answer.find(b"\r\n\r\n")) > 0 or len(answer) < blank + 4 + _content_length(answer):
        answer += connection.recv(1 << 16)
    if b" 200 " not in answer[:14]:
        raise RuntimeError(answer.decode())
    return len(answer)


def _content_length(answer: bytes) -> int:
    return int(answer.lower().partition(b"content-length:")[2].split(None, 1)[0])


def measure_round(servers: dict[str, Server], seconds: float) -> dict[str, Rate]:
    """Request everything in random order, over the same connections."""
    connections = {server: server.connect() for server in servers.values()}
    names = random.sample(list(servers), len(servers))
    rates = {name: measure(servers[name], connections[servers[name]], TARGETS[name], seconds) for name in names}
    for connection in (each for some in connections.values() for each in some.values()):
        connection.close()
    return rates


def table(rounds: list[dict[str, Rate]]) -> Iterator[str]:
    yield "| request | per second | of the constant view | CPU ms | of the constant view | client's share of CPU |"
    yield "|---|---|---|---|---|---|"
    for name in sorted(rounds[0], key=list(TARGETS).index):
        rates = [each[name] for each in rounds]
        views = [each[VIEW] for each in rounds]
        speed = confidence([rate.per_second / view.per_second for rate, view in zip(rates, views, strict=True)])
        cpu = confidence([rate.cpu / view.cpu for rate, view in zip(rates, views, strict=True)])
        middle = [median(getattr(rate, field) for rate in rates) for field in ("per_second", "cpu", "client")]
        yield f"| {name} | {middle[0]:.0f} | {speed} | {1000 * middle[1]:.3f} | {cpu} | {middle[2]:.0%} |"


def confidence(ratios: list[float]) -> str:
    """The median, and the middle 95% of the medians of samples of the same size."""
    medians = sorted(median(random.choices(ratios, k=len(ratios))) for _ in range(SAMPLES))
    return f"{median(ratios):.3f} ({medians[SAMPLES // 40]:.3f} to {medians[-SAMPLES // 40]:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="default 200")
    parser.add_argument("--seconds", type=float, default=0.1, help="for each kind of request in a round (default 0.1)")
    parser.add_argument("--tcp", action="store_true", help="over TCP on loopback instead of unix sockets")
    parser.add_argument("--database", default="", help="the URL of an empty database (default: SQLite)")
    parser.add_argument("--gunicorn", action="store_true", help="also measure the constant view without the service")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as temporary, ExitStack() as running:
        folder = Path(temporary)
        binds = [f"127.0.0.1:{free_port()}" if options.tcp else f"unix:{folder}/{name}.sock" for name in ("stowage", "gunicorn")]
        variables = {"STOWAGE_ROOT": f"{folder}/root", "STOWAGE_BIND": binds[0], "STOWAGE_DATABASE_URL": options.database}
        service = running.enter_context(
            serving("stowage", [sys.executable, "-m", "benchmarks.constant"], binds[0], {**os.environ, **variables})
        )
        one_image(folder / "one.tar")
        service.request("POST", "/v1.45/images/load", folder / "one.tar")
        servers = dict.fromkeys(TARGETS, Server(service))
        if options.gunicorn:
            TARGETS[GUNICORN] = constant.PATH
            other = serving("gunicorn", _gunicorn(binds[1]), binds[1], dict(os.environ), probe=constant.PATH)
            servers[GUNICORN] = Server(running.enter_context(other))
        print("\n".join(table([measure_round(servers, options.seconds) for _ in range(options.rounds)])))


def _gunicorn(bind: str) -> list[str]:
    """gunicorn's threaded worker, with the service's numbers of workers and threads."""
    numbers = [f"--workers={CONFIG.workers}", f"--threads={CONFIG.threads}", "--keep-alive=75", "--worker-class=gthread", "--preload"]
    return [sys.executable, "-m", "gunicorn", *numbers, f"--bind={bind}", "--no-control-socket", "benchmarks.constant:app"]


if __name__ == "__main__":
    main()
