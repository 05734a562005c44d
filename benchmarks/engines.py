"""Engines to measure: requests over HTTP, and the cost of their processes, read from /proc."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CHUNK = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=600)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(600)
        self.sock.connect(self.path)


@dataclass
class Engine:
    """An engine: its name, its address (`unix:PATH` or `HOST:PORT`) and the id of its main process; over TLS, what the client shows."""

    name: str
    address: str
    pid: int
    tls: ssl.SSLContext | None = None

    def request(self, method: str, path: str, body: Path | None = None) -> tuple[int, int, bytes]:
        """Send a request; the status, the number of bytes of the answer, and the last of them."""
        connection = self.connect()
        source = body.open("rb") if body else None
        headers = {
            "Content-Type": "application/x-tar",
            "X-Registry-Auth": "e30=",
            **({"Content-Length": str(body.stat().st_size)} if body else {}),
        }
        connection.request(method, path, body=_chunks(source) if source else None, headers=headers)
        response = connection.getresponse()
        total, tail = 0, b""
        while chunk := response.read(CHUNK):
            total, tail = total + len(chunk), (tail + chunk)[-2000:]
        connection.close()
        if response.status >= 400 or b'"errorDetail"' in tail:
            raise RuntimeError(f"{self.name}: {method} {path}: {response.status} {tail!r}")
        return response.status, total, tail

    def connect(self) -> http.client.HTTPConnection:
        kind, _, rest = self.address.partition(":")
        if self.tls:
            return http.client.HTTPSConnection(self.address, timeout=600, context=self.tls)
        return UnixConnection(rest) if kind == "unix" else http.client.HTTPConnection(self.address, timeout=600)

    def processes(self) -> list[int]:
        """The main process and all its descendants."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except OSError:
                    continue
                children.setdefault(parent, []).append(int(entry.name))
        found, pending = [], [self.pid]
        while pending:
            pid = pending.pop()
            found.append(pid)
            pending += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """User and system time of all processes, including ended children."""
        return sum(_cpu(pid) for pid in self.processes()) / TICKS

    def pss_mib(self) -> float:
        """Proportional set size of all processes."""
        return sum(_pss(pid) for pid in self.processes()) / 1024


def _chunks(source: object) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):  # type: ignore[attr-defined]
        yield chunk


def _cpu(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15])


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


@dataclass
class Cost:
    """What one operation took: wall and CPU seconds, and the service's peak memory in MiB if it was measured."""

    wall: float
    cpu: float
    peak: float = 0


class Meter:
    """Measure an engine over a block: `with Meter(engine) as meter: ...; meter.cost`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        while not self._done.wait(0.1):
            self._peak = max(self._peak, self.engine.pss_mib())

    def __enter__(self) -> Self:
        self._peak = self.engine.pss_mib()
        self._cpu = self.engine.cpu_seconds()
        self._thread.start()
        self._begin = time.perf_counter()
        return self

    def __exit__(self, *failure: object) -> None:
        wall = time.perf_counter() - self._begin
        cpu = self.engine.cpu_seconds() - self._cpu
        self._done.set()
        self._thread.join()
        self.cost = Cost(wall, cpu, max(self._peak, self.engine.pss_mib()))


@contextmanager
def stowage(root: Path, bind: str = "", database: str = "", **settings: str) -> Iterator[Engine]:
    """A service with default settings but for these, by default on a unix socket and with SQLite; of several addresses the first counts."""
    bind = bind or f"unix:{root}/stowage.sock"
    variables = {"STOWAGE_ROOT": str(root), "STOWAGE_BIND": bind, "STOWAGE_DATABASE_URL": database, **settings}
    root.mkdir(parents=True, exist_ok=True)
    with serving("stowage", [sys.executable, "-m", "stowage", "serve"], bind.partition(",")[0], {**os.environ, **variables}) as engine:
        yield engine


@contextmanager
def dockerd(root: Path) -> Iterator[Engine]:
    """A dockerd with its default store on a unix socket, with no network for containers."""
    folders = [f"--data-root={root}/data", f"--exec-root={root}/exec", f"--pidfile={root}/pid", f"--host=unix://{root}/docker.sock"]
    command = ["dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", *folders]
    root.mkdir(parents=True, exist_ok=True)
    with serving("dockerd", command, f"unix:{root}/docker.sock", dict(os.environ)) as engine:
        yield engine


@contextmanager
def serving(name: str, command: list[str], address: str, environment: dict[str, str], probe: str = "/_ping") -> Iterator[Engine]:
    """Run a service; yields once it answers there to a request for `probe`."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        engine = Engine(name, address, process.pid)
        try:
            while not _answers(engine, probe):
                time.sleep(0.1)
            yield engine
        finally:
            process.terminate()


def _answers(engine: Engine, path: str) -> bool:
    try:
        return engine.request("GET", path)[0] == 200
    except OSError:
        return False


def wipe(engine: Engine) -> None:
    """Delete every image and whatever is no longer needed."""
    engine.request("POST", "/v1.45/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D")
